import { BrokerError } from '../errors.js'

/** As much of a node as its place in the graph depends on. */
export interface GraphNode {
  name: string
  after?: string[] | undefined
}

/**
 * Nodes in an order in which each stands after those it waits for; of several possible ones the order given.
 * Throws INVALID_WORKFLOW, which names the node, or the nodes of the cycle.
 */
export function inOrder<Node extends GraphNode>(nodes: readonly Node[]): Node[] {
  const byName = new Map<string, Node>()
  for (const node of nodes) {
    if (byName.has(node.name)) throw new BrokerError('INVALID_WORKFLOW', `Two nodes are named "${node.name}"`)
    byName.set(node.name, node)
  }
  for (const { name, after = [] } of nodes) {
    const unknown = after.find((parent) => !byName.has(parent))
    if (unknown !== undefined) throw new BrokerError('INVALID_WORKFLOW', `Node "${name}" comes after "${unknown}", and no node is named that`)
  }
  return sorted(nodes, byName)
}

/** Depth first, without recursion: a chain may be ten thousand long. */
function sorted<Node extends GraphNode>(nodes: readonly Node[], byName: Map<string, Node>): Node[] {
  const done = new Set<Node>()
  for (const node of nodes) {
    const path = [{ node, next: 0 }]
    const onPath = new Set([node.name])
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const parent = done.has(top.node) ? undefined : byName.get(top.node.after?.[top.next] ?? '')
      if (!parent) {
        done.add(top.node)
        onPath.delete(top.node.name)
        path.pop()
        continue
      }
      top.next += 1
      if (onPath.has(parent.name)) throw cycle(path.map((step) => step.node.name), parent.name)
      if (done.has(parent)) continue
      onPath.add(parent.name)
      path.push({ node: parent, next: 0 })
    }
  }
  return [...done]
}

const MOST_NAMES = 10

function cycle(path: string[], back: string): BrokerError {
  const names = [...path.slice(path.indexOf(back)), back].reverse()
  const shown = names.length > MOST_NAMES ? [...names.slice(0, MOST_NAMES - 1), '…', back] : names
  return new BrokerError('INVALID_WORKFLOW', `These nodes wait for each other, so none could ever run: ${shown.map((name) => (name === '…' ? name : `"${name}"`)).join(' → ')}`)
}
