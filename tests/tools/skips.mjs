// A reporter of node's test runner that writes one line for each skipped test into the register that `skips` reads, and prints nothing.
import {appendFileSync, mkdirSync} from 'node:fs';
import {dirname} from 'node:path';
import {fileURLToPath} from 'node:url';

const register = process.env.VESTIBULE_SKIPS || fileURLToPath(new URL('../../target/skips', import.meta.url));

export default async function* skips(source) {
  mkdirSync(dirname(register), {recursive: true});
  for await (const {type, data} of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const {name, skip, todo} = data;
    if (skip === undefined && todo === undefined) continue;
    const reason = typeof skip === 'string' && skip ? skip : todo === undefined ? 'no reason given' : 'todo';
    appendFileSync(register, `node\t${name}\t${reason.replaceAll(/[\t\n]/g, ' ')}\n`);
  }
  yield '';
}
