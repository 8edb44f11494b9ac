// The JSON Schema of a configuration file, made from the tables of options; the types of a file are derived from it.

import type { XStatic } from "typebox/schema";
import { optionRows, sharedNames } from "../control/option-rows.ts";
import { programRows } from "../control/program-rows.ts";
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

const placeProperties = {
  name: {
    type: "string",
    pattern: '^[^\\s"\\\\=,]{1,128}$',
    description: "in logs, metrics and commands; main, or its address, if not given",
  },
  listen,
  destinations,
} as const;

const listener = {
  type: "object",
  properties: { ...placeProperties, ...propertiesOf<ListenerRow>(listenerRows) },
  required: ["listen", "destinations"],
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
        anyOf: [{ required: ["listen"] }, { required: ["destinations"] }, { required: ["name"] }],
      },
    },
    { required: ["listen", "destinations"], not: { required: ["listener"] } },
  ],
} as const;

/** What a file holds, and what a program that writes one may write: values as numbers and lists, or as texts. */
export type ConfigurationFile = XStatic<Omit<typeof fileSchema, "oneOf">>;

/** As it is published. */
export function schemaText(): string {
  return `${JSON.stringify(fileSchema, null, 2)}\n`;
}

function propertiesOf<R extends SchemaRow>(rows: readonly R[]): Properties<R> {
  const entries = rows.map(({ name, help, schema, initial }) => {
    const described =
      initial === undefined ? help : `${help} (default ${initial === "" ? '""' : initial})`;
    return [name, Object.assign({ description: described }, schema)];
  });
  return Object.fromEntries(entries) as Properties<R>; // by the names of the rows
}
