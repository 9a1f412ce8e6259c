import { defineTask, type TaskContext } from 'reproq'

export const hello = defineTask({
  name: 'hello',
  run: ({ input }: TaskContext<{ name: string }>) => `Hello, ${input.name}!`,
})

/** Fails the first time: a run is tried again by itself. */
export const flaky = defineTask({
  name: 'flaky',
  retry: { attempts: 3 },
  run({ attempt }: TaskContext<void>) {
    if (attempt === 1) throw new Error('The first attempt always fails')
    return `worked at attempt ${attempt}`
  },
})

export const sum = defineTask({
  name: 'sum',
  run: ({ input }: TaskContext<{ numbers: number[] }>) => input.numbers.reduce((total, number) => total + number, 0),
})
