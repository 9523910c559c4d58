// Prints what the suite itself makes of results: for each test `id kind verdict`.
// node judge.mjs ENGINE TESTS RESULTS: the suite's modules, and the JSON that its client printed.

import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [engine, list, results] = process.argv.slice(2)
const { determineTestResult } = await import(pathToFileURL(engine))
const { default: suites } = await import(pathToFileURL(list))
const found = JSON.parse(readFileSync(results, 'utf8'))

// By the marks that the suite prints.
const verdicts = {
  '✅': 'pass',
  Y: 'yes',
  N: 'no',
  '⛔️': 'fail',
  '⚠️': 'fail',
  '🔹': 'setup',
  '⁉️': 'harness',
  '⚪️': 'dependency',
  '↻': 'retry',
  '-': 'untested'
}

for (const test of suites.flatMap(suite => suite.tests)) {
  if (test.browser_only) continue
  const mark = determineTestResult(suites, test.id, found)[2]
  const detail = Array.isArray(found[test.id]) ? found[test.id].join(': ') : ''
  console.log([test.id, test.kind ?? 'required', verdicts[mark] ?? mark, detail].join('\t'))
}
