/** The type a value has after a trip through JSON: a Date comes back as text, and nothing comes back as null. */
export type AsJson<T> = unknown extends T ? T : [T] extends [void] ? null : Member<T>

type Member<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends { toJSON(): infer Json }
    ? Member<Json>
    : T extends bigint | symbol | ((...args: never) => unknown)
      ? never
      : T extends object
        ? { [Key in keyof T]: unknown extends T[Key] ? T[Key] : Member<T[Key]> }
        : T
