import type { FullConfig, Reporter, Suite, TestCase, TestResult } from '@playwright/test/reporter';

/** One line for each test, and the sum as the last line. */
export default class Lines implements Reporter {
  private passed = 0;
  private failed = 0;

  onBegin(_config: FullConfig, suite: Suite): void {
    console.log(`console: ${suite.allTests().length} tests`);
  }

  onTestEnd(test: TestCase, result: TestResult): void {
    const isPassed = result.status === 'passed';
    if (isPassed) this.passed += 1;
    else this.failed += 1;
    console.log(`${isPassed ? 'ok  ' : 'FAIL'} ${test.title} (${(result.duration / 1000).toFixed(1)} s)`);
    for (const error of result.errors) console.log(error.stack ?? error.message ?? error.value);
  }

  onError(error: { message?: string }): void {
    this.failed += 1;
    console.log(`FAIL outside the tests: ${error.message}`);
  }

  onEnd(): void {
    console.log(`${this.passed} passed, ${this.failed} failed`);
  }

  printsToStdio(): boolean {
    return true;
  }
}
