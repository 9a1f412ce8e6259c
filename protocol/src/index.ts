export * from './codes.js'
export * from './frames.js'
export * from './parse.js'
export * from './rest.js'
