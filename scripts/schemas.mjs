// Writes protocol/schemas/*.json from the schemas in the code. Run it after npm run build, when a frame or a body changed.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { schemaFiles } from '../dist/protocol/src/schemas.js'

const folder = join(dirname(fileURLToPath(import.meta.url)), '../protocol/schemas')
const files = schemaFiles()

mkdirSync(folder, { recursive: true })
for (const name of readdirSync(folder)) if (!(name in files)) rmSync(join(folder, name))
for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
console.log(`protocol/schemas: ${Object.keys(files).join(', ')}`)
