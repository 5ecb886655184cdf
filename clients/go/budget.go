package placet

import (
	"sync"
	"time"
)

const (
	budgetWindow    = 10 // seconds
	budgetRatio     = 0.2
	budgetPerSecond = 10
)

// budget is how many attempts may be made on top of the calls: repeats must not make an outage
// worse. A window and not a bucket: what was not used in quiet times is there when a node dies with
// many calls on it, and is gone ten seconds later.
type budget struct {
	mu    sync.Mutex
	calls [budgetWindow]int
	spent [budgetWindow]int
	// now is the second of the newest slot, and the sums are those of all slots.
	now                int64
	allCalls, allSpent int
}

// deposit notes a call.
func (budget *budget) deposit(now time.Duration) {
	budget.mu.Lock()
	defer budget.mu.Unlock()
	budget.calls[budget.slot(now)]++
	budget.allCalls++
}

// balance returns how many attempts may be made on top.
func (budget *budget) balance(now time.Duration) float64 {
	budget.mu.Lock()
	defer budget.mu.Unlock()
	budget.slot(now)
	return budget.left()
}

// withdraw takes one attempt out, and says whether there was one.
func (budget *budget) withdraw(now time.Duration) bool {
	budget.mu.Lock()
	defer budget.mu.Unlock()
	slot := budget.slot(now)
	if budget.left() < 1 {
		return false
	}
	budget.spent[slot]++
	budget.allSpent++
	return true
}

func (budget *budget) left() float64 {
	return budgetPerSecond*budgetWindow + budgetRatio*float64(budget.allCalls) -
		float64(budget.allSpent)
}

// slot returns the place of this second, with those that were passed over emptied.
func (budget *budget) slot(now time.Duration) int64 {
	second := int64(now / time.Second)
	if second > budget.now {
		for passed := max(budget.now+1, second-budgetWindow+1); passed <= second; passed++ {
			slot := passed % budgetWindow
			budget.allCalls -= budget.calls[slot]
			budget.allSpent -= budget.spent[slot]
			budget.calls[slot], budget.spent[slot] = 0, 0
		}
		budget.now = second
	}
	return budget.now % budgetWindow
}
