// The OpenAPI document: the route table in the words of that format.

import { errorBody, type TSchema } from "./schema.ts";
import { bodySizeMax, type Parameter, type Route } from "./route.ts";

/** Statuses with which any route may refuse: a bad query, a token, another origin. */
const commonRefusals = [400, 401, 403] as const;

/** @param pages paths of the pages that a browser shows. */
export function openApiDocument(
  routes: readonly Route[],
  pages: readonly string[],
  version: string,
): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
  }
  for (const path of pages) {
    const answer = { description: "A page or a part of it", content: { "*/*": {} } };
    (paths[path] ??= {})["get"] = { summary: "For browsers", responses: { 200: answer } };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "iawlb",
      version,
      description: `The admin side of iawlb. Bodies are JSON of at most ${bodySizeMax} bytes.`,
    },
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: { Error: errorBody },
    },
  };
}

function operation(route: Route): object {
  const { method, path, summary, access, query, body, answer } = route;
  const inPath = /\{(\w+)\}/.exec(path)?.[1];
  const parameters = Object.entries(query).map(([name, parameter]) => inQuery(name, parameter));
  if (inPath !== undefined) {
    const schema = { type: "string" };
    parameters.unshift({ name: inPath, in: "path", required: true, schema });
  }
  const requestBody = { required: true, content: { "application/json": { schema: body } } };
  const refusals = [...(access === "free" ? [] : commonRefusals), ...route.refusals];
  const error = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  return {
    operationId: operationId(method, path),
    summary,
    ...(access === "free" ? {} : { security: [{ token: [] }, {}] }),
    parameters,
    ...(body === null ? {} : { requestBody }),
    responses: {
      200: {
        description: answer.description,
        content: contentOf(answer.contentType, answer.schema),
      },
      ...Object.fromEntries(
        refusals.map((status) => [status, { description: "Refused", content: error }]),
      ),
    },
  };
}

function inQuery(name: string, { description, read, initial, example }: Parameter): object {
  const type = read !== undefined && initial !== undefined ? "integer" : "string";
  const schema = { type, ...(initial === undefined ? {} : { default: initial }) };
  return { name, in: "query", description, schema, ...(example === "" ? {} : { example }) };
}

function contentOf(type: string, schema: TSchema | null): object {
  return { [type]: schema === null ? { schema: { type: "string" } } : { schema } };
}

/** `postDestinationsNameDrain`. */
function operationId(method: string, path: string): string {
  const words = path.split(/[^a-z]+/).filter((word) => word !== "");
  const rest = words.map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`);
  return method.toLowerCase() + rest.join("");
}
