// Writes the published JSON Schema: `bun run schema`. A test compares it with the code.
import { schemaText } from "./src/config/schema.ts";

const file = process.argv[2] ?? "schema/iawlb.schema.json";
await Bun.write(file, schemaText());
console.log(`${file} is written`);
