import type { App } from './typed-app.js'
import { BrokerError } from '../errors.js'

const sources = new WeakMap<object, string>()

/** Bodies are parsed for their shape, and their text is kept: arguments are cut out of it digit by digit. */
export function parseKeepingSource(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      const text = body as string
      const value: unknown = JSON.parse(text)
      if (typeof value === 'object' && value !== null) sources.set(value, text)
      done(null, value)
    } catch (error) {
      done(new BrokerError('INVALID_JSON', (error as Error).message, { cause: error }))
    }
  })
}

/** The text a parsed body came from. */
export function sourceOf(body: object): string {
  const text = sources.get(body)
  if (text === undefined) throw new Error('The body was not parsed here')
  return text
}
