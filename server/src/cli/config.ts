import type { Command } from 'commander'
import { type Config, settings, variablesOf } from '../config.js'
import { write } from './output.js'
import { placeOf } from './settings-files.js'
import { addSettingOptions, configOf } from './settings-options.js'
import { clientSettings, workerSettings } from './worker-settings.js'

/** `reproq config`: every setting, its value, and where that comes from. Secrets are masked. */
export function registerConfig(program: Command): void {
  addSettingOptions(program.command('config').description('The settings of broker, worker and clients: a flag wins over the environment, then .env, reproq.config.{ts,mjs,js,json}, the default.'))
    .option('--explain', 'also say where each value comes from and what it means')
    .addHelpText('after', '\nExamples:\n  reproq config\n  reproq config --explain')
    .action((options: Record<string, unknown> & { explain?: boolean }) => {
      const say = (env: string, value: string, source: string, doc: string) => write(options.explain ? `${env}=${value}\n    from ${source}. ${doc}\n` : `${env}=${value}\n`)
      for (const [key, { env, default: fallback, doc }] of Object.entries(settings)) {
        const variable = variablesOf(key as keyof Config).find((name) => process.env[name] !== undefined)
        const flag = options[key]
        const value = flag ?? (variable && process.env[variable] ? process.env[variable] : fallback)
        say(env, masked(key, String(value)), flag === undefined ? sourceOf(variable) : 'the flag', doc)
      }
      for (const [key, { env, doc }] of Object.entries({ ...clientSettings, ...workerSettings })) {
        const text = process.env[env]
        say(env, masked(key, text ?? ''), sourceOf(text === undefined ? undefined : env), doc)
      }
      // Printed first: who looks for what is wrong sees all of it.
      configOf(options)
    })
}

function sourceOf(variable: string | undefined): string {
  if (variable === undefined || process.env[variable] === '') return 'default'
  const place = placeOf(variable)
  if (place === undefined) return variable
  return place.name === variable ? `${place.file} (${variable})` : `${place.file} (${place.name})`
}

function masked(key: string, text: string): string {
  if (key === 'token') return text === '' ? '' : '***'
  return text.replace(/:[^:@/]*@/g, ':***@').replace(/([?&]password=)[^&]*/gi, '$1***')
}
