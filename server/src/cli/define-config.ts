import type { Overrides } from '../config.js'
import type { clientSettings, workerSettings } from './worker-settings.js'

type Value<Takes> = Takes extends 'number' ? number : Takes extends 'texts' ? string | readonly string[] : string
type Values<Table extends Record<string, { takes: string }>> = { [Key in keyof Table]?: Value<Table[Key]['takes']> | undefined }

/** A `reproq.config.ts` (.mjs, .js, .json): the lowest of what may be given, above the defaults. */
export interface ReproqConfig extends Values<typeof clientSettings> {
  /** Settings of the broker, as REFERENCE.md has them: `leaseMs` is REPROQ_LEASE_MS. */
  broker?: Overrides
  worker?: Values<typeof workerSettings>
}

/** Gives a config file its types: `export default defineConfig({ worker: { tasks: ['tasks/*.ts'] } })`. */
export function defineConfig(config: ReproqConfig): ReproqConfig {
  return config
}
