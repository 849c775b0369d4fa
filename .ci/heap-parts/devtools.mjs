// Loads heap snapshots with the parser of Chrome DevTools, and prints what its "Comparison" view shows as JSON.
//
//   node devtools.mjs BEFORE AFTER
//
// parser.mjs is bundled from the package chrome-devtools-frontend by .ci/heap.

import fs from 'node:fs';
import zlib from 'node:zlib';

// Node has it from version 22 on.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, {resolve, reject}));
  return made;
};

const {HeapSnapshotLoader, SecondaryInitManager} = await import(process.env.PARSER);
const problems = [];

async function load(file) {
  const loader = new HeapSnapshotLoader({
    sendEvent(name, event) {
      if (/problem/i.test(name)) {
        problems.push(event);
      }
    },
  });
  const {port1, port2} = new MessageChannel();
  new SecondaryInitManager(port2);
  const content = fs.readFileSync(file);
  const text = (file.endsWith('.gz') ? zlib.gunzipSync(content) : content).toString('utf8');
  for (let start = 0; start < text.length; start += 1 << 20) {
    loader.write(text.slice(start, start + (1 << 20)));
  }
  loader.close();
  return await loader.buildSnapshot(port1);
}

const [before, after] = [await load(process.argv[2]), await load(process.argv[3])];
const definitions = after.interfaceDefinitions();
const diff = after.calculateSnapshotDiff('before', before.aggregatesForDiff(definitions));
const grown = Object.values(diff)
  .filter(row => row.countDelta > 0)
  .map(row => ({name: row.name, count: row.countDelta, bytes: row.sizeDelta}));
console.log(JSON.stringify({problems, nodes: after.nodeCount, bytes: after.totalSize, grown}));
process.exit(0);
