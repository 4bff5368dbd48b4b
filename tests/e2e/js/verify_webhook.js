// Verifies webhooks with npm's standardwebhooks. Reads one JSON object per line, {secret, headers, body}, and writes the
// verified payload. Exits with an error if a webhook cannot be verified.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
}
