/**
 * The types that the scripts of the dashboard share. They exist for the type check only: nothing loads this file.
 *
 * The fields of API responses come from the OpenAPI document (see generate-api-types.js); here they get their names.
 */

declare namespace Api {
  type ErrorBody = ApiErrorBody;
  type Me = ApiResponses["me"];
  type MagicLink = ApiResponses["read_link"];
  type Stats = ApiResponses["get_stats"];
  type Task = ApiResponses["list_tasks"]["data"][number];
  type TaskDetail = ApiResponses["get_task"];
  type TaskEvent = ApiResponses["list_events"]["data"][number];
  type LogChunk = ApiResponses["read_log"];
  type SubmittedTask = ApiResponses["submit_task"];
  type Agent = ApiResponses["get_agent"];
  type AgentWithToken = ApiResponses["rotate_token"];
  type NewRegistrationToken = ApiResponses["create_registration_token"];
  type Webhook = ApiResponses["get_webhook"];
  type WebhookWithSecret = ApiResponses["create_webhook"];
  type Delivery = ApiResponses["list_deliveries"]["data"][number];
  type DeliveryAttempt = Delivery["attempts"][number];
  type Session = ApiResponses["list_sessions"]["data"][number];
  type PersonalToken = ApiResponses["list_tokens"]["data"][number];
  type NewPersonalToken = ApiResponses["make_token"];
  /** A page of a list. Every list of the API has these fields. */
  type Page<Row> = Omit<ApiResponses["list_tasks"], "data"> & { data: Row[] };
}

/** The parts of an OpenAPI 3.1 document that the API reference reads. */
declare namespace OpenApi {
  interface Schema {
    $ref?: string;
    type?: string | string[];
    const?: unknown;
    enum?: unknown[];
    anyOf?: Schema[];
    oneOf?: Schema[];
    items?: Schema;
    properties?: Record<string, Schema>;
    required?: string[];
    description?: string;
    default?: unknown;
    format?: string;
    pattern?: string;
    minimum?: number;
    maximum?: number;
    minLength?: number;
    maxLength?: number;
    minItems?: number;
    maxItems?: number;
  }
  interface Parameter {
    $ref?: string;
    name: string;
    in: string;
    required?: boolean;
    description?: string;
    schema?: Schema;
  }
  type Content = Record<string, { schema?: Schema }>;
  interface Response {
    $ref?: string;
    description: string;
    content?: Content;
  }
  interface Operation {
    operationId: string;
    /** Added by docs.js: the operation's path, and its method in capital letters. */
    path: string;
    method: string;
    summary: string;
    description?: string;
    tags?: string[];
    security?: Record<string, string[]>[];
    parameters: Parameter[];
    requestBody?: { description?: string; content?: Content };
    responses: Record<string, Response>;
  }
  type Method = "get" | "post" | "put" | "patch" | "delete";
  type PathItem = { parameters?: Parameter[] } & { [method in Method]?: Omit<Operation, "path" | "method"> };
  interface Document {
    info: { version: string; description: string };
    paths: Record<string, PathItem>;
  }
}

/** What an element may contain. null, undefined and false add nothing. */
type Child = Node | string | null | undefined | false | Child[];

/** The attributes and event handlers of an element. */
interface Props {
  onclick?: (event: MouseEvent & { currentTarget: HTMLElement }) => unknown;
  [attribute: string]: string | number | boolean | null | undefined | ((event: never) => unknown);
}

type Query = Record<string, string | number | null | undefined>;

interface RequestOptions {
  /** Sent as JSON; a string is sent unchanged. */
  body?: object | string;
  query?: Query;
  headers?: Record<string, string>;
  /** Whether a 401 is an error like any other, instead of a redirect to the login page. */
  anonymous?: boolean;
}
