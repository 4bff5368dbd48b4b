/**
 * Writes TypeScript types for the API's responses: `generate-api-types.js OPENAPI.json OUTPUT.d.ts`.
 *
 * They are keyed by operation id, which clients see and which does not change: `ApiResponses["get_task"]`.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

const [, , input, output] = process.argv;
const openapi = JSON.parse(readFileSync(input, "utf-8"));

/** The schema that `#/components/schemas/Name` names. */
const resolve = (ref) => ref.replace(/^#\//, "").split("/").reduce((node, step) => node[step], openapi);

/** A JSON schema (as pydantic generates them) as a TypeScript type. */
function typeOf(schema) {
  if (schema.$ref) return typeOf(resolve(schema.$ref));
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(typeOf).join(" | ");
  switch (schema.type) {
    case "string": return "string";
    case "integer":
    case "number": return "number";
    case "boolean": return "boolean";
    case "null": return "null";
    case "array": return `(${schema.items ? typeOf(schema.items) : "unknown"})[]`;
    case "object": return objectType(schema);
    default: return "unknown";
  }
}

function objectType({ properties, required = [], additionalProperties }) {
  if (!properties) return `Record<string, ${additionalProperties?.type ? typeOf(additionalProperties) : "unknown"}>`;
  const fields = Object.entries(properties).map(([name, schema]) =>
    `${JSON.stringify(name)}${required.includes(name) ? "" : "?"}: ${typeOf(schema)}`);
  return `{ ${fields.join("; ")} }`;
}

const lines = Object.values(openapi.paths).flatMap((item) => Object.values(item)).flatMap(({ operationId, responses }) => {
  const [, success] = Object.entries(responses ?? {}).find(([status]) => status.startsWith("2")) ?? [];
  const schema = success?.content?.["application/json"]?.schema;
  return schema ? [`  ${operationId}: ${typeOf(schema)};`] : [];
});

mkdirSync(dirname(output), { recursive: true });
writeFileSync(output, [
  "// Generated from the OpenAPI document by generate-api-types.js. Do not edit.",
  "interface ApiResponses {",
  ...lines,
  "}",
  `type ApiErrorBody = ${typeOf(openapi.components.schemas.Error)};`,
  "",
].join("\n"));
