/** JSON schemas (those of an OpenAPI 3.1 document) for people: as fields with their types, and as an example. */

import { el } from "./dom.js";

const DEEPEST = 6;

/** What resolves `$ref`s of a document; what stands beside a `$ref` is added. */
export function reader(documentOf) {
  const resolve = (given) => {
    if (!given?.$ref) return given ?? {};
    const { $ref, ...more } = given;
    const found = $ref.replace(/^#\//, "").split("/").reduce((node, part) => node?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], documentOf);
    const whole = { ...resolve(found), ...more };
    if (more.properties) whole.properties = { ...resolve(found).properties, ...more.properties };
    return whole;
  };
  return { resolve };
}

/** The schema without "or null", and whether null is allowed. */
function bare(given, resolve) {
  const schema = resolve(given);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) {
    const others = choices.filter((one) => one.type !== "null");
    const nullable = others.length < choices.length;
    if (others.length === 1) return { schema: { ...schema, anyOf: undefined, oneOf: undefined, ...resolve(others[0]) }, nullable };
    return { schema, nullable, choices: others };
  }
  if (Array.isArray(schema.type)) return { schema: { ...schema, type: schema.type.find((one) => one !== "null") }, nullable: schema.type.includes("null") };
  return { schema, nullable: false };
}

/** "array of text", "whole number, 1 to 100": a schema's type in a few words. */
function typeOf(given, resolve) {
  const { schema, nullable, choices } = bare(given, resolve);
  const words = choices ? choices.map((one) => typeOf(one, resolve)).join(", or ") : plainType(schema, resolve);
  return nullable ? `${words}, or null` : words;
}

function plainType(schema, resolve) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return `one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`;
  const name = { string: "text", integer: "whole number", number: "number", boolean: "true or false", array: "list", object: "object" }[schema.type] ?? "anything";
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items, resolve) : "anything"}${range(schema.minItems, schema.maxItems, "")}`;
  if (schema.type === "string") return `${schema.format ? `${schema.format.replace("-", " ")}` : name}${range(schema.minLength, schema.maxLength, " characters")}`;
  return `${name}${range(schema.minimum, schema.maximum, "")}`;
}

function range(least, most, unit) {
  if (most !== undefined) return least ? `, ${least.toLocaleString()} to ${most.toLocaleString()}${unit}` : `, at most ${most.toLocaleString()}${unit}`;
  return least > 1 ? `, at least ${least.toLocaleString()}${unit}` : "";
}

/** A schema as elements: an object's fields with types and meanings, anything else as its type. */
export function schemaOf(given, resolve, depth = 0) {
  const { schema } = bare(given, resolve);
  const items = schema.type === "array" && schema.items ? bare(schema.items, resolve).schema : null;
  const object = items?.properties ? items : schema;
  const type = el("p", { class: "type" }, typeOf(given, resolve), pattern(schema), preset(schema));
  if (!object.properties || depth > DEEPEST) return type;
  const required = new Set(object.required);
  return el("div", {}, items ? type : null, el("dl", { class: "fields" }, Object.entries(object.properties).map(([name, one]) => field(name, one, required.has(name), resolve, depth))));
}

function field(name, given, required, resolve, depth) {
  const { schema } = bare(given, resolve);
  const nested = schema.properties || (schema.type === "array" && schema.items && bare(schema.items, resolve).schema.properties);
  return el("div", {},
    el("dt", {}, el("code", {}, name), required ? el("span", { class: "hint" }, " required") : null),
    el("dd", {},
      prose(resolve(given).description ?? ""),
      nested && depth < DEEPEST
        ? el("details", {}, el("summary", {}, typeOf(given, resolve)), schemaOf(given, resolve, depth + 1))
        : el("p", { class: "type" }, typeOf(given, resolve), pattern(schema), preset(resolve(given)))));
}

/** "Not blank": a pattern that says less to people than the word. */
const NOT_BLANK = ["\\S", "[^\\s\\x85]"];
const pattern = (schema) => (!schema.pattern ? null : NOT_BLANK.includes(schema.pattern) ? ", not blank" : [", like ", el("code", {}, schema.pattern)]);
const preset = (schema) => (schema.default !== undefined && schema.default !== null ? [", ", el("code", {}, JSON.stringify(schema.default)), " if absent"] : null);

const KNOWN = {
  agentId: "my-agent", taskId: "task-1", name: "my agent", version: "0.1.0", platform: "linux", capabilities: ["fix-bug"], intent: "fix-bug",
  repo: "https://github.com/user/repo", branch: "main", naturalLanguage: "Fix the null pointer in the login flow", progress: 0.5, step: "Running tests",
  success: true, summary: "Fixed", prUrl: "https://github.com/user/repo/pull/456", error: "Repository clone failed", url: "https://example.com/devflow",
  email: "user@example.com", pin: "123456", status: "ready", events: ["task.completed"], data: "A line of the log\n", offset: 0, attempt: 1,
};

/** A body to start from: what is required, and what one would mostly send. */
export function exampleOf(given, resolve) {
  const { schema } = bare(given, resolve);
  const required = new Set(schema.required);
  const names = Object.keys(schema.properties ?? {}).filter((name) => required.has(name) || (required.size === 0 && name in KNOWN));
  return Object.fromEntries(names.map((name) => [name, KNOWN[name] ?? sample(schema.properties[name], resolve)]));
}

function sample(given, resolve) {
  const { schema, choices } = bare(given, resolve);
  if (choices) return sample(choices[0], resolve);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.type === "object") return schema.properties ? exampleOf(schema, resolve) : {};
  return { string: "text", integer: schema.minimum ?? 1, number: schema.minimum ?? 1, boolean: true, array: [] }[schema.type] ?? null;
}

/** A text with paragraphs, lists of "- " and `code`, as elements. */
export function prose(text) {
  return String(text).split(/\n\s*\n/).filter((part) => part.trim()).map((part) => {
    const lines = part.split("\n");
    if (lines.every((one) => one.startsWith("- "))) return el("ul", {}, lines.map((one) => el("li", {}, coded(one.slice(2)))));
    return el("p", {}, coded(part));
  });
}

const coded = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
