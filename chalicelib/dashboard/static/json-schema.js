/** JSON schemas of an OpenAPI 3.1 document, as elements to read: fields with their types, and an example. */

import { el } from "./dom.js";

/**
 * @typedef {OpenApi.Schema} Schema
 * @typedef {(schema: Schema | undefined) => Schema} Resolve
 */

const MAX_DEPTH = 6;

/**
 * Resolves the `$ref`s of a document. What is beside a `$ref` is added to the schema that it names.
 * @param {OpenApi.Document} openapi
 * @returns {{ resolve: <T extends { $ref?: string }>(node: T | undefined) => T }}
 */
export function refResolver(openapi) {
  /** @type {(node: any) => any} */
  const resolve = (node) => {
    if (!node?.$ref) return node ?? {};
    const { $ref, ...beside } = node;
    const steps = $ref.replace(/^#\//, "").split("/").map((/** @type {string} */ step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
    const target = resolve(steps.reduce((/** @type {any} */ at, /** @type {string} */ step) => at?.[step], openapi));
    const merged = { ...target, ...beside };
    if (beside.properties) merged.properties = { ...target.properties, ...beside.properties };
    return merged;
  };
  return { resolve };
}

/**
 * The schema without "or null", whether it allows null, and its alternatives if it has several.
 * @param {Schema | undefined} given
 * @param {Resolve} resolve
 * @returns {{ schema: Schema, nullable: boolean, choices?: Schema[] }}
 */
function withoutNull(given, resolve) {
  const schema = resolve(given);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) {
    const others = choices.filter((choice) => choice.type !== "null");
    const nullable = others.length < choices.length;
    if (others.length === 1) return { schema: { ...schema, anyOf: undefined, oneOf: undefined, ...resolve(others[0]) }, nullable };
    return { schema, nullable, choices: others };
  }
  if (Array.isArray(schema.type)) return { schema: { ...schema, type: schema.type.find((type) => type !== "null") }, nullable: schema.type.includes("null") };
  return { schema, nullable: false };
}

/**
 * A schema's type in a few words: "list of text", "whole number, 1 to 100".
 * @param {Schema | undefined} given
 * @param {Resolve} resolve
 * @returns {string}
 */
function typeLabel(given, resolve) {
  const { schema, nullable, choices } = withoutNull(given, resolve);
  const label = choices ? choices.map((choice) => typeLabel(choice, resolve)).join(", or ") : plainTypeLabel(schema, resolve);
  return nullable ? `${label}, or null` : label;
}

/** @type {Record<string, string>} */
const TYPE_LABELS = { string: "text", integer: "whole number", number: "number", boolean: "true or false", array: "list", object: "object" };

/** @type {(schema: Schema, resolve: Resolve) => string} */
function plainTypeLabel(schema, resolve) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return `one of ${schema.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  const name = TYPE_LABELS[String(schema.type)] ?? "anything";
  if (schema.type === "array") return `list of ${schema.items ? typeLabel(schema.items, resolve) : "anything"}${range(schema.minItems, schema.maxItems, "")}`;
  if (schema.type === "string") return `${schema.format ? schema.format.replace("-", " ") : name}${range(schema.minLength, schema.maxLength, " characters")}`;
  return `${name}${range(schema.minimum, schema.maximum, "")}`;
}

/** @type {(least: number | undefined, most: number | undefined, unit: string) => string} */
function range(least = 0, most, unit) {
  if (most !== undefined) return least ? `, ${least.toLocaleString()} to ${most.toLocaleString()}${unit}` : `, at most ${most.toLocaleString()}${unit}`;
  return least > 1 ? `, at least ${least.toLocaleString()}${unit}` : "";
}

/**
 * A schema as elements: the fields of an object with types and descriptions, anything else as its type.
 * @param {Schema | undefined} given
 * @param {Resolve} resolve
 * @returns {HTMLElement}
 */
export function schemaView(given, resolve, depth = 0) {
  const { schema } = withoutNull(given, resolve);
  const items = schema.type === "array" && schema.items ? withoutNull(schema.items, resolve).schema : null;
  const { properties, required } = items?.properties ? items : schema;
  const type = el("p", { class: "type" }, typeLabel(given, resolve), patternLabel(schema), defaultLabel(schema));
  if (!properties || depth > MAX_DEPTH) return type;
  const fields = Object.entries(properties).map(([name, field]) => fieldView(name, field, required?.includes(name) ?? false, resolve, depth));
  return el("div", {}, items ? type : null, el("dl", { class: "fields" }, fields));
}

/** @type {(name: string, given: Schema, required: boolean, resolve: Resolve, depth: number) => HTMLElement} */
function fieldView(name, given, required, resolve, depth) {
  const { schema } = withoutNull(given, resolve);
  const isNested = schema.properties || (schema.type === "array" && schema.items && withoutNull(schema.items, resolve).schema.properties);
  return el("div", {},
    el("dt", {}, el("code", {}, name), required ? el("span", { class: "hint" }, " required") : null),
    el("dd", {},
      prose(resolve(given).description ?? ""),
      isNested && depth < MAX_DEPTH
        ? el("details", {}, el("summary", {}, typeLabel(given, resolve)), schemaView(given, resolve, depth + 1))
        : el("p", { class: "type" }, typeLabel(given, resolve), patternLabel(schema), defaultLabel(resolve(given)))));
}

/** Patterns that are displayed as "not blank". */
const NOT_BLANK = ["\\S", "[^\\s\\x85]"];
/** @type {(schema: Schema) => Child} */
const patternLabel = ({ pattern }) => (!pattern ? null : NOT_BLANK.includes(pattern) ? ", not blank" : [", pattern ", el("code", {}, pattern)]);
/** @type {(schema: Schema) => Child} */
const defaultLabel = ({ default: value }) => (value !== undefined && value !== null ? [", default ", el("code", {}, JSON.stringify(value))] : null);

/** @type {Record<string, unknown>} */
const EXAMPLES = {
  agentId: "my-agent", taskId: "task-1", name: "my agent", version: "0.1.0", platform: "linux", capabilities: ["fix-bug"], intent: "fix-bug",
  repo: "https://github.com/user/repo", branch: "main", naturalLanguage: "Fix the null pointer in the login flow", progress: 0.5, step: "Running tests",
  success: true, summary: "Fixed", prUrl: "https://github.com/user/repo/pull/456", error: "Repository clone failed", url: "https://example.com/devflow",
  email: "user@example.com", pin: "123456", status: "ready", events: ["task.completed"], data: "A line of the log\n", offset: 0, attempt: 1,
};

/**
 * An example of a body: its required fields, or the usual ones if none is required.
 * @param {Schema | undefined} given
 * @param {Resolve} resolve
 * @returns {Record<string, unknown>}
 */
export function exampleOf(given, resolve) {
  const { schema: { properties = {}, required = [] } } = withoutNull(given, resolve);
  const names = Object.keys(properties).filter((name) => required.includes(name) || (required.length === 0 && name in EXAMPLES));
  return Object.fromEntries(names.map((name) => [name, EXAMPLES[name] ?? exampleValue(properties[name], resolve)]));
}

/** @type {(given: Schema, resolve: Resolve) => unknown} */
function exampleValue(given, resolve) {
  const { schema, choices } = withoutNull(given, resolve);
  if (choices) return exampleValue(choices[0], resolve);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.type === "object") return schema.properties ? exampleOf(schema, resolve) : {};
  /** @type {Record<string, unknown>} */
  const values = { string: "text", integer: schema.minimum ?? 1, number: schema.minimum ?? 1, boolean: true, array: [] };
  return values[String(schema.type)] ?? null;
}

/**
 * Text with paragraphs, lists of lines that begin with "- ", and `code`, as elements.
 * @param {string} text
 */
export function prose(text) {
  return text.split(/\n\s*\n/).filter((part) => part.trim()).map((part) => {
    const lines = part.split("\n");
    if (lines.every((line) => line.startsWith("- "))) return el("ul", {}, lines.map((line) => el("li", {}, withCode(line.slice(2)))));
    return el("p", {}, withCode(part));
  });
}

/** @param {string} text */
const withCode = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
