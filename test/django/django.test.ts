import type pg from 'pg'
import t, { type Test } from 'tap'
import { float, remoteTask } from '../../sdk-ts/src/index.js'
import { migrate } from '../../server/src/db/migrate.js'
import { testBroker } from '../helpers/broker.js'
import { emptyDatabase, type TestDatabase } from '../helpers/database.js'
import { misplaced, placesOf, rowOf, statusOf } from '../helpers/given.js'
import { until } from '../helpers/wait.js'
import { Django, djangoWorker } from './django.js'
import { findPython, unreachable } from './python.js'
import { djangoEnvironment, type DjangoEnvironment } from './reproq-django.js'

const python = findPython(12)
const environment = python && (await djangoEnvironment(python, (line) => t.comment(line)).catch(skipIfUnreachable))

function skipIfUnreachable(error: unknown): undefined {
  if (unreachable(error) === undefined) throw error
}

/** A warm mode must pass the same. Without a flag it is the one that this executor is run in by default. */
const MODES: readonly (readonly string[])[] = [['--python-mode', 'one-shot'], []]

const missing = python ? 'the Python package index cannot be reached' : 'there is no Python 3.12 or newer, which Django 6 needs'
if (environment) await tests(environment)
else t.test('Django', { skip: missing }, () => {})

async function tests(environment: DjangoEnvironment): Promise<void> {
  await t.test("Django's migrations first, then ours", async (t) => {
    const { database, django } = await djangoFirst(t, environment)
    await cleanInBoth(t, database, django)
    await t.test('what Django had enqueued before we came is run', async (t) => {
      const { database, django } = await djangoFirst(t, environment, `return tasks.add.enqueue(1, 2).id`)
      t.strictSame((await database.pool.query('SELECT result_id::int FROM reproq_ready')).rows, [{ result_id: 1 }])
      await runsOne(t, environment, database, django, '1')
    })
  })

  await t.test("our migrations first, then Django's with --fake-initial", async (t) => {
    const database = await emptyDatabase(t)
    await migrate({ url: database.url })
    const django = new Django(t, environment, database.url)
    await t.rejects(django.run(`call_command("migrate", verbosity=0)`), /relation "periodic_tasks" already exists/, 'as migrations/README.md says')
    await django.run(`call_command("migrate", fake_initial=True, verbosity=0)`)
    await cleanInBoth(t, database, django)
    await runsOne(t, environment, database, django, await django.run<string>(`return tasks.add.enqueue(1, 2).id`))
  })

  for (const mode of MODES) await t.test(mode.join(' ') || 'zygote, the default', (t) => asOneShop(t, environment, mode))
}

async function djangoFirst(t: Test, environment: DjangoEnvironment, between = ''): Promise<{ database: TestDatabase; django: Django }> {
  const database = await emptyDatabase(t)
  const django = new Django(t, environment, database.url)
  await django.run(`call_command("migrate", verbosity=0)\n${between}`)
  await migrate({ url: database.url })
  return { database, django }
}

/** Both sides find their schema as they want it, and looking changes nothing. */
async function cleanInBoth(t: Test, { url, pool }: TestDatabase, django: Django): Promise<void> {
  const before = await catalog(pool)
  t.strictSame((await migrate({ url })).applied, [], 'we have nothing left to do')
  await django.run(`call_command("migrate", verbosity=0); call_command("makemigrations", check_changes=True, verbosity=0)`)
  t.strictSame(await catalog(pool), before)
}

async function runsOne(t: Test, environment: DjangoEnvironment, database: TestDatabase, django: Django, id: string): Promise<void> {
  const { url, token } = await testBroker(t, {}, database)
  await djangoWorker(t, { environment, databaseUrl: database.url, url, token, queues: 'default', concurrency: 1 })
  t.equal(await until('it has run', () => django.run(`return task_backends["default"].get_result(given).status == "SUCCESSFUL"`, id), 20_000), true)
  t.strictSame(await django.run(`return task_backends["default"].get_result(given).result`, id), 3)
}

async function catalog(pool: pg.Pool): Promise<unknown> {
  const parts = [
    `SELECT c.oid::int, relname, relkind, attname, atttypid::int, attnotnull, pg_get_expr(adbin, adrelid) FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid
       LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum WHERE relnamespace = 'public'::regnamespace ORDER BY 1, attnum`,
    `SELECT oid::int, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1`,
    `SELECT t.oid::int, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal ORDER BY 1`,
    `SELECT oid::int, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1`,
    `SELECT name FROM reproq_migrations ORDER BY id`,
    `SELECT app, name, applied::text FROM django_migrations ORDER BY id`,
  ]
  return Promise.all(parts.map(async (sql) => (await pool.query(sql)).rows as unknown))
}

interface Result {
  status: string
  value: unknown
  errors: Record<string, unknown>[]
  attempts: number
  metadata: unknown
}

/** One database, broker and worker, as a shop has them. The broker looks without being told once a minute: too late for any test. */
async function asOneShop(t: Test, environment: DjangoEnvironment, mode: readonly string[]): Promise<void> {
  const { database, django } = await djangoFirst(t, environment)
  const { pool } = database
  const { url, token, reproq } = await testBroker(t, { lookMs: 60_000, leaseMs: 15_000, heartbeatMs: 1_000 }, database)
  const worker = { environment, databaseUrl: database.url, url, token, mode }
  await djangoWorker(t, { ...worker, queues: 'default,other', concurrency: 2 })

  const enqueue = (code: string, given: unknown = null) => django.run<string>(`return (${code}).id`, given)
  const resultOf = (id: string) =>
    django.run<Result>(`
      result = task_backends["default"].get_result(given)
      return {"status": result.raw_status, "value": result.data.return_json, "attempts": result.attempts, "errors": result.errors, "metadata": result.metadata}`, id)
  const finished = (id: string) => until(`run ${id} has ended`, async () => /SUCC|FAIL|CANC/.test(String(await statusOf(pool, id))) && resultOf(id), 30_000)
  const valueOf = async (id: string) => (await finished(id)).value
  const notes = () => django.run<string[]>(`return list(Note.objects.order_by("id").values_list("text", flat=True))`)
  const pause = (queue: string, paused: boolean) => django.run(`QueueControl.objects.update_or_create(queue_name=given[0], defaults={"paused": given[1]})`, [queue, paused])
  const count = async () => (await pool.query('SELECT count(*)::int AS runs FROM task_runs')).rows[0].runs as number

  await t.test('enqueue inside transaction.atomic: nobody sees it before the commit, and the commit alone wakes the broker', async (t) => {
    const id = await django.run<string>(`
      kept["transaction"] = transaction.atomic()
      kept["transaction"].__enter__()
      Customer.objects.create(name="Ada")
      return tasks.add.enqueue(1, b=2).id`)
    t.equal(await count(), 0)
    t.strictSame((await pool.query('SELECT * FROM reproq_ready')).rows, [])
    await django.run(`kept["transaction"].__exit__(None, None, None)`)
    t.match(await finished(id), { status: 'SUCCESSFUL', value: 3, attempts: 1, errors: [] })
    t.equal(await django.run(`return task_backends["default"].get_result(given).result`, id), 3)

    const before = await count()
    await django.run(`
      try:
          with transaction.atomic():
              tasks.add.enqueue(5, 6)
              raise KeyError
      except KeyError:
          pass`)
    t.equal(await count(), before, 'and one that is rolled back never was')
  })

  await t.test('arguments arrive as they were given', async (t) => {
    const values = { args: [1, 1.5, 'ünïcödé \u2028 "\\', null, true, [], [[1]], { '10': 1, '9': 2, é: { '': 0 } }], kwargs: { big: 2 ** 53, none: null } }
    const plain = enqueue(`tasks.echo.enqueue(*given["args"], **given["kwargs"])`, values)
    const delta = enqueue(`tasks.seconds.enqueue(timedelta(days=-1, milliseconds=1))`)
    const renamed = enqueue(`tasks.rename.enqueue(Customer.objects.get(name="Ada"), name="Grace")`)
    const doubled = enqueue(`tasks.double.enqueue(21)`)
    const exact = enqueue(`tasks.echo.enqueue(10**25)`)
    t.strictSame(await valueOf(await plain), values)
    t.strictSame(await valueOf(await delta), ['timedelta', -86_399.999], 'a timedelta')
    t.equal(await valueOf(await renamed), 'Ada', 'a model instance')
    t.strictSame(await django.run(`return [customer.name for customer in Customer.objects.all()]`), ['Grace'])
    t.equal(await valueOf(await doubled), 42, 'an async task')
    await finished(await exact)
    const { rows } = await pool.query(`SELECT return_json->'args' ->> 0 AS text FROM task_runs WHERE result_id = $1`, [await exact])
    t.strictSame(rows, [{ text: `1${'0'.repeat(25)}` }], 'every digit')
  })

  await t.test('takes_context, and metadata that the task keeps in its row', async (t) => {
    const id = await enqueue(`tasks.visit.using(queue_name="other").enqueue("Rome")`)
    t.strictSame(await valueOf(id), { attempt: 1, id, queue: 'other' })
    t.strictSame((await resultOf(id)).metadata, { visits: ['Rome'] })
  })

  await t.test('metadata that the web process keeps, also while the run waits, is there for it', async (t) => {
    await pause('other', true)
    const id = await enqueue(`tasks.visit.using(queue_name="other").enqueue("Oslo")`)
    await django.run(`task_backends["default"].save_metadata(given, {"visits": ["Bonn"]})`, id)
    t.strictSame(await placesOf(pool, id), ['ready'])
    await pause('other', false)
    t.strictSame((await finished(id)).metadata, { visits: ['Bonn', 'Oslo'] })
  })

  await t.test('what a call says of its run: run_after, priority, keys', async (t) => {
    const id = await enqueue(`tasks.add.enqueue(1, 1, run_after=timedelta(seconds=1), priority=7)`)
    t.strictSame(await placesOf(pool, id), ['scheduled'])
    t.match(await rowOf(pool, id), { priority: 7, spec_json: { priority: 7, kwargs: {} } })
    const keyed = await django.run<string[]>(`
      return [result.id for milliseconds in (200, 201) for result in (
          tasks.nap.enqueue("bed", milliseconds, lock_key="bed"), tasks.nap.enqueue("bath", milliseconds, concurrency_key="bath", concurrency_limit=1))]`)
    for (const id of keyed) await finished(id)
    for (const where of ['bed', 'bath']) {
      const said = (await notes()).filter((text) => text.endsWith(where))
      t.strictSame(said, [`in ${where}`, `out ${where}`, `in ${where}`, `out ${where}`], 'one at a time')
    }
    t.equal(await valueOf(id), 2)
  })

  await t.test('from async code', async (t) => {
    const result = await django.run<[string, number]>(`
      async def wait():
          result = await tasks.add.aenqueue(20, 22)
          again = await task_backends["default"].aget_result(result.id)
          return [result.id, (await asyncio.to_thread(again.wait, 20)).result]
      return asyncio.run(wait())`)
    t.equal(result[1], 42)
  })

  await t.test('EXPIRES_IN: what is not started in time is not started', async (t) => {
    await pause('other', true)
    const id = await django.run<string>(`
      task_backends["default"].options["EXPIRES_IN"] = timedelta(seconds=1)
      try:
          return tasks.note.using(queue_name="other").enqueue("too late").id
      finally:
          del task_backends["default"].options["EXPIRES_IN"]`)
    t.match(await finished(id), { status: 'CANCELLED', errors: [{ kind: 'expired' }] })
    await pause('other', false)
  })

  await t.test('a row of periodic_tasks fires', async (t) => {
    await django.run(`
      PeriodicTask.objects.create(name="tick", cron_expr="* * * * *", task_path="shop.tasks.note", payload_json={"args": ["tick"], "kwargs": {}}, next_run_at=timezone.now())`)
    t.ok(await until('it has run', async () => (await notes()).includes('tick'), 20_000))
    await django.run(`PeriodicTask.objects.filter(name="tick").update(enabled=False)`)
  })

  await t.test('a failure shows its traceback in Django, after all attempts; one that exits without an envelope too', async (t) => {
    const sold = await enqueue(`tasks.sell.enqueue("lamp")`)
    const left = await enqueue(`tasks.leave.enqueue(3)`)
    const { status, attempts, errors } = await finished(sold)
    t.strictSame([status, attempts, errors.length], ['FAILED', 3, 3])
    t.match(errors[0], { exception_class: 'OutOfStock', traceback: /File ".*shop\/tasks\.py".*\n.*shop\.tasks\.OutOfStock: no lamp left/s })
    const row = await rowOf(pool, sold)
    t.match(row, { attempts: 3, last_error: 'OutOfStock: no lamp left', failed_at: Date, leased_by: null })
    t.match((row.errors_json as unknown[])[2], { kind: 'app_error', message: 'no lamp left', attempt: 3, at: /T/, worker_id: /./ })
    t.match(await finished(left), { status: 'FAILED', errors: [{ exception_class: 'ExecutorCrashed' }, {}, {}] })
    t.match((await rowOf(pool, left)).last_error, /exit code 3/)
  })

  await t.test('what a task printed opens in a browser, where its row in Admin says', async (t) => {
    const id = await enqueue(`tasks.grumble.enqueue("no paper")`)
    await finished(id)
    const uri = await until('the row says where', () => django.run<string | null>(`return TaskRun.objects.get(pk=given).logs_uri`, id))
    const response = await fetch(uri)
    t.match(response, { status: 200, ok: true })
    t.match(await response.text(), /^no paper\n/)
    t.equal((await fetch(uri.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')))).status, 401)
  })

  await t.test('a child process that prints where the result goes spoils neither', async (t) => {
    const id = await enqueue(`tasks.delegate.enqueue("printed by a child")`)
    t.match(await finished(id), { status: 'SUCCESSFUL', value: 'delegated', attempts: 1 })
    await until('what it printed is kept', async () => (await pool.query('SELECT text FROM reproq_logs WHERE result_id = $1', [id])).rows.some(({ text }) => text === 'printed by a child\n'))
  })

  await t.test('an attempt that fails is followed by one that knows its number', async (t) => {
    t.match(await finished(await enqueue(`tasks.persist.enqueue(3)`)), { status: 'SUCCESSFUL', value: 3, attempts: 3, errors: [{ exception_class: 'OutOfStock' }, { exception_class: 'OutOfStock' }] })
  })

  await t.test('receivers of its signals run where it sends them: in the web process and in the executor', async (t) => {
    const watched = async (fail: boolean) => {
      const id = await enqueue(`tasks.watched.enqueue(given)`, fail)
      await finished(id)
      return (await notes()).flatMap((text) => (text.split(' ')[1] === id ? [text.replace(id, 'it')] : []))
    }
    t.strictSame(await watched(false), ['enqueued it', 'started it', 'finished it True'])
    await django.run(`task_backends["default"].options["MAX_ATTEMPTS"] = 1`)
    t.strictSame(await watched(true), ['enqueued it', 'started it', 'finished it False'], 'and max_attempts was 1')
    await django.run(`del task_backends["default"].options["MAX_ATTEMPTS"]`)
  })

  await t.test('run_after: by a timer, not early', async (t) => {
    const id = await enqueue(`tasks.add.using(run_after=timezone.now() + timedelta(seconds=1.5)).enqueue(0, 0)`)
    t.strictSame(await placesOf(pool, id), ['scheduled'])
    t.equal(await valueOf(id), 0)
    const { started_at, run_after } = await rowOf(pool, id)
    t.ok((started_at as Date) >= (run_after as Date))
  })

  await t.test('priority, bulk enqueue, pause and resume', async (t) => {
    await pause('ordered', true)
    await djangoWorker(t, { ...worker, queues: 'ordered', concurrency: 1 })
    const ids = await django.run<string[]>(`
      calls = [(tasks.note.using(queue_name="ordered", priority=priority), [f"priority {priority}"], {}) for priority in (0, 5, -5, 9)]
      return [result.id for result in task_backends["default"].bulk_enqueue(calls)]`)
    t.strictSame(await Promise.all(ids.map((id) => placesOf(pool, id))), ids.map(() => ['ready']))
    t.strictSame(await Promise.all(ids.map((id) => statusOf(pool, id))), ids.map(() => 'READY'), 'a paused queue waits')
    await pause('ordered', false)
    for (const id of ids) await finished(id)
    t.strictSame((await notes()).filter((text) => text.startsWith('priority')), ['priority 9', 'priority 5', 'priority 0', 'priority -5'])
  })

  await t.test('deduplication: on by default, off on our schema without an error', async (t) => {
    await pause('paused', true)
    const twice = await django.run<string[]>(`return [tasks.note.using(queue_name="paused").enqueue("twin").id for _ in range(2)]`)
    t.equal(twice[0], twice[1])
    const apart = await django.run<string[]>(`return [tasks.note.using(queue_name="paused", backend="undeduplicated").enqueue("apart").id for _ in range(2)]`)
    t.not(apart[0], apart[1])
    const again = await enqueue(`tasks.echo.enqueue("again")`)
    await finished(again)
    t.not(await enqueue(`tasks.echo.enqueue("again")`), again, 'what has ended is no twin')
  })

  await t.test("a task enqueued by the TypeScript SDK is its Django twin: it has the hash that its backend computes, and runs", async (t) => {
    const echo = remoteTask<{ args: unknown[]; kwargs: Record<string, unknown> }, unknown>('shop.tasks.echo')
    const input = { args: [1, 'zwei', null, { b: [true], a: 1.5, 'ü\u2028': '\u007f' }], kwargs: { key: 'värde' } }
    const run = await reproq.enqueue(echo, input, { queue: 'paused', priority: 4, maxAttempts: 2, timeout: '60s' })
    const twin = await django.run<string>(`
      backend = task_backends["default"]
      backend.options.update(MAX_ATTEMPTS=2, TIMEOUT_SECONDS=60)
      try:
          return tasks.echo.using(queue_name="paused", priority=4).enqueue(*given["args"], **given["kwargs"]).id
      finally:
          backend.options.clear()`, input)
    t.equal(twin, run.id, 'so Django takes the one for the other')
    const scaled = await django.run<string>(`return tasks.echo.using(queue_name="paused").enqueue(2.0).id`)
    const same = await reproq.enqueue(echo, { args: [float(2)], kwargs: {} }, { queue: 'paused', deduplicate: true })
    t.match(same, { id: scaled, deduplicated: true }, 'and we, when asked, take its for ours')
    await django.run(`TaskRun.objects.filter(pk=given).update(queue_name="default")`, run.id)
    t.strictSame(await run.result({ timeout: '20s' }), input)
    t.equal((await finished(run.id)).status, 'SUCCESSFUL')
  })

  await t.test('what Admin does to rows', async (t) => {
    await t.test('cancel_requested on a running one stops it; tried again, it runs', async (t) => {
      const id = await enqueue(`tasks.dawdle.enqueue("dawdler")`)
      await until('it runs', async () => (await notes()).includes('dawdler started'), 20_000)
      const asked = performance.now()
      await django.run(`run = TaskRun.objects.get(pk=given); run.cancel_requested = True; run.save(update_fields=["cancel_requested", "updated_at"])`, id)
      await finished(id)
      t.ok(performance.now() - asked < 5_000, 'at once, not at a look')
      t.match(await rowOf(pool, id), { status: 'CANCELLED', leased_by: null, errors_json: [{ kind: 'cancelled' }], cancel_requested: true })
      t.notOk((await notes()).includes('dawdler finished'))

      await django.run(`TaskRun.objects.filter(pk=given).update(status="READY", run_after=timezone.now(), spec_json={**TaskRun.objects.get(pk=given).spec_json, "task_path": "shop.tasks.echo"}, task_path="shop.tasks.echo")`, id)
      t.match(await finished(id), { status: 'SUCCESSFUL' }, 'the wish to cancel ended with the run it was about')
      t.equal((await rowOf(pool, id)).cancel_requested, false)
    })

    await t.test('what is cancelled while it waits does not run: set to CANCELLED, or cancel_requested', async (t) => {
      await pause('other', true)
      const [set, asked, last] = await django.run<[string, string, string]>(`return [tasks.note.using(queue_name="other").enqueue(text).id for text in ("set", "asked", "last")]`)
      await django.run(`TaskRun.objects.filter(pk=given).update(status="CANCELLED")`, set)
      await django.run(`TaskRun.objects.filter(pk=given).update(cancel_requested=True)`, asked)
      await pause('other', false)
      await finished(last)
      await finished(asked)
      t.strictSame(await Promise.all([set, asked, last].map((id) => statusOf(pool, id))), ['CANCELLED', 'CANCELLED', 'SUCCESSFUL'])
      t.strictSame((await notes()).filter((text) => ['set', 'asked', 'last'].includes(text)), ['last'])
      t.equal((await resultOf(set)).status, 'CANCELLED')
      await t.rejects(django.run(`return task_backends["default"].get_result(given).status`, set), /RuntimeError/, 'which is none of the statuses that Django has')
    })

    await t.test('FAILED → READY with its attempts kept is tried once more', async (t) => {
      const id = await enqueue(`tasks.persist.enqueue(4)`)
      t.match(await finished(id), { status: 'FAILED', attempts: 3 })
      await django.run(`TaskRun.objects.filter(pk=given).update(status="READY", run_after=timezone.now())`, id)
      t.match(await finished(id), { status: 'SUCCESSFUL', value: 4, attempts: 4 })
      t.match(await rowOf(pool, id), { attempts: 4, max_attempts: 3, last_error: null, failed_at: null })
    })

    await t.test('saving a whole row that waits or has ended changes nothing; deleting it takes it away', async (t) => {
      const id = await enqueue(`tasks.note.using(queue_name="paused").enqueue("saved")`)
      await django.run(`TaskRun.objects.get(pk=given).save()`, id)
      t.strictSame(await placesOf(pool, id), ['ready'])
      await django.run(`TaskRun.objects.get(pk=given).delete()`, id)
      t.strictSame(await placesOf(pool, id), [])
    })

    await t.test('an old run is deleted, and what hung on it stays', async (t) => {
      const parent = await enqueue(`tasks.sell.enqueue("chair")`)
      await finished(parent)
      const { rows } = await pool.query(`INSERT INTO task_runs (spec_json, spec_hash, status, parent_id) VALUES ('{"task_path": "t"}', '', 'FAILED', $1) RETURNING result_id::text AS id`, [parent])
      await django.run(`TaskRun.objects.filter(status__in=["FAILED"], finished_at__lt=timezone.now(), pk=given).delete()`, parent)
      t.equal((await rowOf(pool, (rows[0] as { id: string }).id)).parent_id, null)
    })
  })

  await t.test('rows of chains, groups and chords run in their order', async (t) => {
    const ids = (code: string) => django.run<string[]>(`return [result.id for result in ${code}]`)
    const [link, next] = await ids(`workflows.chain((tasks.add, (1, 1), {}), (tasks.add, (2, 2), {})).enqueue()`)
    const group = await ids(`workflows.group((tasks.add, (3, 3), {}), (tasks.add, (3, 3), {})).enqueue()`)
    const chord = await ids(`(lambda members, last: [*members, last])(*workflows.chord((tasks.add, (4, 4), {}), callback=(tasks.add, (5, 5), {})).enqueue())`)
    const members = [link, ...group, chord[0]] as string[]
    t.strictSame(await Promise.all(members.map(valueOf)), [2, 6, 6, 8])
    t.strictSame(await Promise.all([next, chord[1]].map((id) => valueOf(id as string))), [4, 10], 'what waited for them')
  })

  await t.test('the time of a task', async (t) => {
    const started = performance.now()
    const ids = await django.run<string[]>(`return [tasks.add.enqueue(100, n).id for n in range(8)]`)
    for (const id of ids) await finished(id)
    t.comment(`${Math.round((performance.now() - started) / ids.length)} ms per task, two at a time`)
    t.strictSame(await misplaced(pool), [], 'and after all of this the narrow tables say what the rows say')
  })
}
