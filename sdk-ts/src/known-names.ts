import { InvalidOption } from './errors.js'

/** The names that an interface has, for those who check at run time: a name more or less does not compile. */
export const namesOf = <Fields extends object>(names: Record<keyof Fields, true>): readonly string[] => Object.keys(names)

/** Refuses what nobody would read: JavaScript and a cast let any name through. `where` begins the sentence. Throws InvalidOption. */
export function checkNames(given: object, names: readonly string[], where: string): void {
  const unknown = Object.entries(given).find(([name, value]) => value !== undefined && !names.includes(name))?.[0]
  if (unknown === undefined) return
  const isCall = (unknown === 'args' || unknown === 'kwargs') && !names.includes(unknown)
  throw new InvalidOption(`${where} "${unknown}"`, `there are ${names.join(', ')}${isCall ? '; for positional and keyword arguments: enqueue(remoteTask(name), { args: [2], kwargs: { by: 3 } })' : ''}`)
}
