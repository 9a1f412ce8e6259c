import type { Command } from 'commander'
import { type Config, loadConfig, settings } from '../config.js'

/** `reproq config`: every setting, its value, and where that comes from. Passwords in URLs are masked. */
export function registerConfig(program: Command): void {
  program
    .command('config')
    .description('The settings of the broker as the environment gives them.')
    .option('--explain', 'also say where each value comes from and what it means')
    .addHelpText('after', '\nExamples:\n  reproq config\n  reproq config --explain')
    .action(({ explain }: { explain?: boolean }) => {
      const config = loadConfig()
      for (const [key, { env, doc }] of Object.entries(settings)) {
        const value = String(config[key as keyof Config]).replace(/:[^:@/]*@/, ':***@')
        const source = process.env[env] !== undefined ? env : key === 'databaseUrl' && process.env.DATABASE_URL ? 'DATABASE_URL' : 'default'
        process.stdout.write(explain ? `${env}=${value}\n    from ${source}. ${doc}\n` : `${env}=${value}\n`)
      }
    })
}
