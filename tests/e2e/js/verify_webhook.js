// Verifies webhooks with npm's standardwebhooks. Reads one JSON line each, {secret, headers, body}, and writes the
// payload that was signed; ends with an error where one does not verify.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
}
