// The JSON Schema of a configuration file, made from the tables of options; the types of a file are derived from it.

import type { XStatic } from "typebox/schema";
import { optionRows, sharedNames } from "../control/option-rows.ts";
import { routeSuffixes } from "../control/preface-suffixes.ts";
import { programRows } from "../control/program-rows.ts";
import { routeCountMax } from "../control/routes.ts";
import { suffixes } from "../control/suffix.ts";
import { listenerCountMax } from "./file-reader.ts";

interface SchemaRow {
  readonly name: string;
  readonly help: string;
  readonly schema: unknown;
  readonly initial?: string;
}

/** The schemas of rows by their names, as a type. */
type Properties<R extends SchemaRow> = {
  readonly [Each in R as Each["name"]]: Each["schema"] & { readonly description: string };
};

type OptionRow = (typeof optionRows)[number];
type SharedRow = Extract<OptionRow, { readonly name: "access-log" | "log-level" }>;
type ListenerRow = Exclude<OptionRow, SharedRow>;
type ProgramRow = Exclude<(typeof programRows)[number], { readonly name: "config" }>;

const isShared = (row: OptionRow): row is SharedRow => sharedNames.includes(row.name);
const listenerRows = optionRows.filter((row): row is ListenerRow => !isShared(row));
const topRows = [
  ...optionRows.filter(isShared),
  ...programRows.filter((row): row is ProgramRow => row.name !== "config"),
];

const listen = {
  anyOf: [{ type: "integer", minimum: 0, maximum: 65_535 }, { type: "string" }],
  description: "where clients come in: 8080, 127.0.0.1:8080, [::1]:8080, name:8080, unix:/path",
} as const;

const address = {
  anyOf: [{ type: "integer", minimum: 1, maximum: 65_535 }, { type: "string" }],
  description: "where connections go: 3001, 10.0.0.2:3001, [::1]:3001, name:3001, unix:/path",
} as const;

const destination = {
  type: "object",
  properties: { address, ...propertiesOf<(typeof suffixes)[number]>(suffixes) },
  required: ["address"],
  additionalProperties: false,
} as const;

const destinations = {
  type: "array",
  items: { anyOf: [...address.anyOf, destination] },
  minItems: 1,
  description:
    "where connections go: addresses with their suffixes as on the command line, or tables",
} as const;

const route = {
  type: "object",
  properties: { ...propertiesOf<(typeof routeSuffixes)[number]>(routeSuffixes), destinations },
  required: ["destinations"],
  anyOf: routeSuffixes.map(({ name }) => ({ required: [name] })),
  additionalProperties: false,
} as const;

const routes = {
  type: "array",
  items: route,
  maxItems: routeCountMax - 1,
  description: "destinations for clients by the name or the protocol that they ask for",
} as const;

/** The options that begin with tls-, without that. */
const tlsTable = {
  type: "object",
  properties: tlsProperties(),
  additionalProperties: false,
  description: "TLS with clients: the options tls-cert, tls-key and so on, without tls-",
} as const;

const placeProperties = {
  name: {
    type: "string",
    pattern: '^[^\\s"\\\\=,]{1,128}$',
    description: "in logs, metrics and commands; main, or its address, if not given",
  },
  listen,
  destinations,
  route: routes,
  tls: tlsTable,
} as const;

/** Who has routes need not have destinations besides. */
const anyDestination = [{ required: ["destinations"] }, { required: ["route"] }] as const;

const listener = {
  type: "object",
  properties: { ...placeProperties, ...propertiesOf<ListenerRow>(listenerRows) },
  required: ["listen"],
  anyOf: anyDestination,
  additionalProperties: false,
} as const;

export const fileSchema = {
  $schema: "http://json-schema.org/draft-07/schema#",
  title: "iawlb",
  description:
    "Configuration of iawlb: options of the program, options for all listeners, and the listeners",
  type: "object",
  properties: {
    $schema: { type: "string" },
    ...propertiesOf<(typeof topRows)[number]>(topRows),
    ...placeProperties,
    ...propertiesOf<ListenerRow>(listenerRows),
    listener: { type: "array", items: listener, minItems: 1, maxItems: listenerCountMax },
  },
  additionalProperties: false,
  // Several listeners, or the one whose address stands above all.
  oneOf: [
    {
      required: ["listener"],
      not: {
        anyOf: [...anyDestination, { required: ["listen"] }, { required: ["name"] }],
      },
    },
    { required: ["listen"], anyOf: anyDestination, not: { required: ["listener"] } },
  ],
} as const;

/** What a file holds, and what a program that writes one may write: values as numbers and lists, or as texts. */
export type ConfigurationFile = XStatic<Omit<typeof fileSchema, "oneOf">>;

/** As it is published. */
export function schemaText(): string {
  return `${JSON.stringify(fileSchema, null, 2)}\n`;
}

type TlsRow = Extract<OptionRow, { readonly name: `tls-${string}` }>;
type WithoutTls<N extends string> = N extends `tls-${infer Rest}` ? Rest : never;
type TlsProperties = {
  readonly [Each in TlsRow as WithoutTls<Each["name"]>]: Properties<Each>[Each["name"]];
};

function tlsProperties(): TlsProperties {
  const rows = optionRows.filter(({ name }) => name.startsWith("tls-"));
  const own = rows.map(({ name, help, schema, initial }) => {
    return { name: name.slice("tls-".length), help, schema, initial };
  });
  return propertiesOf(own) as unknown as TlsProperties; // by the names of the rows
}

function propertiesOf<R extends SchemaRow>(rows: readonly R[]): Properties<R> {
  const entries = rows.map(({ name, help, schema, initial }) => {
    const described =
      initial === undefined ? help : `${help} (default ${initial === "" ? '""' : initial})`;
    return [name, Object.assign({ description: described }, schema)];
  });
  return Object.fromEntries(entries) as Properties<R>; // by the names of the rows
}
