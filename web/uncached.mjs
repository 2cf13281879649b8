// Rewrites decoder_model_merged.onnx as optimum exports it, in this one respect: the caches hold the tokens alone, and each call
// projects the picture to keys and values once more. What it is for: to measure what caches that begin with the picture save.
import { readFile, writeFile } from 'node:fs/promises';
import onnx from 'onnx-proto';

const { ModelProto, NodeProto } = onnx.onnx;

// uncached rewrites a file. It knows the graph that model/onnx/decoder.go builds, and throws where it finds another.
export async function uncached(from, to) {
  const model = ModelProto.decode(await readFile(from));
  const { graph } = model;
  const makes = new Map(graph.node.flatMap((n) => n.output.map((name) => [name, n])));
  const only = (what, found) => {
    if (found.length !== 1) throw new Error(`${from}: ${found.length} ${what}, not 1`);
    return found[0];
  };
  // positions of the picture that caches hold: none
  const held = only('Min', graph.node.filter((n) => n.opType === 'Min'));
  held.opType = 'Sub';
  held.input = [held.input[1], held.input[1]];
  // cross-attention's mask is as wide as the picture
  const seen = only('Less', graph.node.filter((n) => n.opType === 'Less'));
  makes.get(seen.input[0]).input[1] = scalar(graph, seen.input[1]);
  const outputs = new Set(graph.output.map((o) => o.name));
  let caches = 0;
  for (const join of graph.node.filter((n) => n.opType === 'Concat' && n.input[0].startsWith('past_key_values.'))) {
    if (join.input.length !== 3) throw new Error(`${from}: a cache of ${join.input.length} parts`);
    const [past, picture, tokens] = join.input;
    join.input = [past, tokens];
    for (const user of graph.node) {
      if (user === join || !user.input.includes(join.output[0])) continue;
      if (user.opType === 'Slice') {
        user.opType = 'Identity';
        user.input = [join.output[0]];
      } else if (!user.output.some((name) => outputs.has(name))) {
        user.input = user.input.map((name) => (name === join.output[0] ? picture : name));
      }
    }
    caches++;
  }
  if (caches === 0 || caches !== graph.output.length - 1) throw new Error(`${from}: ${caches} caches`);
  await writeFile(to, ModelProto.encode(model).finish());
}

// scalar adds a node behind the one that makes a value of shape [1], and answers the name of the value as a scalar.
function scalar(graph, name) {
  const node = NodeProto.create({ opType: 'Squeeze', name: `${name}_scalar`, input: [name], output: [`${name}_scalar`] });
  graph.node.splice(graph.node.findIndex((n) => n.output.includes(name)) + 1, 0, node);
  return node.output[0];
}
