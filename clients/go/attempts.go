package placet

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// firstPause and mostPause bound the pause after a refusal; the pause itself is drawn evenly below.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// maxDoublings is more than any bound needs; a duration overflows later.
const maxDoublings = 16

// attempts makes calls that can be repeated without harm, more than once if need be.
type attempts struct {
	most    int
	timeout time.Duration
	budget  budget
	began   time.Time
}

func newAttempts(settings settings) *attempts {
	return &attempts{most: settings.attempts, timeout: settings.attemptTimeout, began: time.Now()}
}

// run calls until there is an answer, or an error that another try would hardly mend. The context
// has a deadline. Where the caller waits for a revision, an answer may take as long as it likes.
func (attempts *attempts) run(
	ctx context.Context, waits bool, call func(context.Context) error,
) error {
	attempts.budget.deposit(attempts.elapsed())
	for number := 1; ; number++ {
		isLast := number == attempts.most || attempts.budget.balance(attempts.elapsed()) < 1
		timeout := time.Duration(0)
		if !isLast && !waits {
			timeout = attempts.share(ctx)
		}
		hung, err := attempt(ctx, timeout, call)
		if err == nil {
			return nil
		}
		failure := fromStatus(err)
		if isLast || ctx.Err() != nil || !(hung || isElsewhereBetter(failure)) ||
			!attempts.budget.withdraw(attempts.elapsed()) {
			return failure
		}
		if !hung && !pause(ctx, number) {
			return failure
		}
	}
}

// share returns how long an attempt may take that is not the last.
func (attempts *attempts) share(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	return min(attempts.timeout, time.Until(deadline)/2)
}

func (attempts *attempts) elapsed() time.Duration { return time.Since(attempts.began) }

// attempt calls once; it says whether it was given up for having taken too long.
func attempt(
	ctx context.Context, timeout time.Duration, call func(context.Context) error,
) (hung bool, err error) {
	if timeout <= 0 {
		return false, call(ctx)
	}
	attempting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = call(attempting)
	// The server keeps to the deadline as well, and may say so before the clock here does.
	isLate := attempting.Err() != nil || status.Code(err) == codes.DeadlineExceeded
	return err != nil && isLate && ctx.Err() == nil, err
}

// isElsewhereBetter says whether another node, or the same one later, may well answer: nothing was
// decided here, and nothing is wrong with the request. Calls that a server has not begun when it stops
// end as canceled, which it is not the caller who did.
func isElsewhereBetter(failure *Error) bool {
	return failure.Code == codes.Unavailable || failure.Code == codes.Canceled ||
		failure.Reason == "OVERLOADED" || failure.Reason == "NODE_STALE"
}

// pause waits a little, and says whether there is still time after it.
func pause(ctx context.Context, failures int) bool {
	bound := min(mostPause, firstPause<<min(failures-1, maxDoublings))
	timer := time.NewTimer(rand.N(bound))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
