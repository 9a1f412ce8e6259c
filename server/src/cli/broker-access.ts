import { type Command, Option } from 'commander'
import { Reproq } from '../../../sdk-ts/src/index.js'
import { devAccess } from './dev-state.js'

export interface BrokerOptions {
  url?: string
  token?: string
}

/** Adds `--url` and `--token`. Where they come from: the flag, then the variable, then the `reproq dev` of this folder. */
export function addBrokerOptions(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'the broker [REPROQ_URL, else the reproq dev of this folder]'))
    .addOption(new Option('--token <token>', 'bearer token; better in the variable, where other users cannot see it [REPROQ_TOKEN]'))
}

/** The broker that a command talks to. */
export function brokerOf(options: BrokerOptions): Reproq {
  const dev = devAccess(options.url ?? (process.env.REPROQ_URL || undefined))
  const { url } = dev
  const token = options.token ?? (process.env.REPROQ_TOKEN || undefined) ?? dev.token
  return new Reproq({ ...(url !== undefined && { url }), ...(token !== undefined && { token }) })
}
