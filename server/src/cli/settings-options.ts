import { type Command, Option } from 'commander'
import { type Config, loadConfig, type Overrides, settings } from '../config.js'
import { nameOf } from './settings-files.js'

/** A flag for every setting of the broker: leaseMs → --lease-ms. The defaults stay in the settings table. */
export function addSettingOptions(command: Command): Command {
  for (const [key, { env, default: fallback, doc }] of Object.entries(settings)) {
    const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    const option = new Option(`--${flag} <${typeof fallback === 'number' ? 'number' : 'text'}>`, `${doc} [${env}${fallback === '' ? '' : `, default ${fallback}`}]`)
    command.addOption(typeof fallback === 'number' ? option.argParser(numberOf(flag)) : option)
  }
  return command
}

function numberOf(flag: string) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isFinite(value) || value < 0) throw Object.assign(new Error(`--${flag} takes a number of at least 0; got "${text}"`), { code: 'INVALID_SETTING' })
    return value
  }
}

/** Flags, then the environment with what the files of settings added to it, then defaults. */
export function configOf(options: Overrides & Record<string, unknown> = {}, preset: Overrides = {}): Config {
  const flags = Object.fromEntries(Object.keys(settings).map((key) => [key, options[key]])) as Overrides
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) as Overrides
  const { env } = process
  // A preset (of `reproq dev`) stands for the default: the environment and flags win over it.
  const unset = Object.fromEntries(Object.entries(preset).filter(([key]) => env[settings[key as keyof Config].env] === undefined)) as Overrides
  return loadConfig({ ...unset, ...given }, env, nameOf)
}
