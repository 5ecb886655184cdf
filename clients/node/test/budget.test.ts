import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '#dist/budget.js';

function spend(budget: Budget, now: number): number {
  let spent = 0;
  while (budget.withdraw(now)) {
    spent += 1;
  }
  return spent;
}

test('a quiet client may repeat ten calls a second, of ten seconds', () => {
  const budget = new Budget();
  assert.equal(spend(budget, 0), 100);
  assert.equal(spend(budget, 9_999), 0);
  assert.equal(spend(budget, 10_000), 100);
});

test('a busy one may repeat a fifth of its calls on top', () => {
  const budget = new Budget();
  for (let call = 0; call < 1_000; call += 1) {
    budget.deposit(call * 5);
  }
  assert.equal(spend(budget, 5_000), 300);
});

test('what was is forgotten after ten seconds, and after any pause', () => {
  const budget = new Budget();
  for (let call = 0; call < 1_000; call += 1) {
    budget.deposit(0);
  }
  assert.equal(spend(budget, 86_400_000), 100);
});
