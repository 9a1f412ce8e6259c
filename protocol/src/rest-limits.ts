import Type, { type Static } from 'typebox'

/** Bodies of the REST interface under `/v1/limits`. */

export const LimitUnit = Type.Union([Type.Literal('second'), Type.Literal('minute'), Type.Literal('hour'), Type.Literal('day')])
export type LimitUnit = Static<typeof LimitUnit>

export const LimitRequest = Type.Object(
  {
    limit: Type.Number({ minimum: 0, maximum: 1_000_000, description: 'So many starts …; 0 switches the limit off' }),
    per: LimitUnit,
    burst: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'So many at once after a pause. Default: limit, at least 1' })),
  },
  { additionalProperties: false, title: 'LimitRequest' },
)
export type LimitRequest = Static<typeof LimitRequest>

export const Limit = Type.Object(
  {
    key: Type.String({ description: 'global, queue:<name>, task:<name>, or key:<rate key>' }),
    limit: Type.Number({ description: 'So many starts …' }),
    per: LimitUnit,
    burst: Type.Integer(),
    tokens: Type.Union([Type.Number(), Type.Null()], { description: 'How many could start at once now; null: the limit is off' }),
    active: Type.Boolean({ description: 'false: what it applies to is not limited, not even by a more general limit' }),
  },
  { title: 'Limit' },
)
export type Limit = Static<typeof Limit>

export const LimitList = Type.Object({ limits: Type.Array(Limit), next_cursor: Type.Union([Type.String(), Type.Null()]) }, { title: 'LimitList' })
export type LimitList = Static<typeof LimitList>
