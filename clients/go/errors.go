package placet

import (
	"context"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	placetv1 "placet.dev/go/placet/v1"
)

// domain is where reasons are ours, so that those of a proxy in between are not taken for them.
const domain = "placet.dev"

const reasonMalformed = "REQUEST_MALFORMED"

// Error is why there is no decision, or no stream. It is neither an allow nor a denial.
//
// It is what errors.As finds, and what status.FromError and status.Code read; errors.Is finds
// context.DeadlineExceeded and context.Canceled in one with such a code.
type Error struct {
	Code codes.Code
	// Reason is a stable upper-case identifier such as TENANT_UNKNOWN; empty when the server gave none.
	Reason string
	// Message is what is wrong and what to do, for people.
	Message string
	// Metadata is further facts that the server gave with the reason.
	Metadata map[string]string
	// Violations are the fields that are not as they have to be.
	Violations []Violation
	// RetryAfter is when to try again, where the server said so.
	RetryAfter time.Duration
	// Residency is where to go instead, for the reason WRONG_REGION.
	Residency *placetv1.ResidencyRefusal

	status *status.Status
}

// Violation is one field of a request that is not as it has to be.
type Violation struct {
	// Field is its path within the request, such as context.amount.
	Field   string
	Message string
}

// Error says what is wrong.
func (err *Error) Error() string {
	var text strings.Builder
	text.WriteString("placet: ")
	text.WriteString(err.Code.String())
	if err.Reason != "" {
		text.WriteString(" (" + err.Reason + ")")
	}
	text.WriteString(": " + err.Message)
	return text.String()
}

// GRPCStatus returns the status as it came.
func (err *Error) GRPCStatus() *status.Status {
	if err.status != nil {
		return err.status
	}
	return status.New(err.Code, err.Message)
}

// Is says whether the error is that a context ended.
func (err *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return err.Code == codes.DeadlineExceeded
	case context.Canceled:
		return err.Code == codes.Canceled
	}
	return false
}

func refusal(field, message string) *Error {
	return &Error{
		Code:       codes.InvalidArgument,
		Reason:     reasonMalformed,
		Message:    "`" + field + "` " + message,
		Violations: []Violation{{Field: field, Message: message}},
	}
}

func itemError(message *placetv1.DecisionError) *Error {
	err := &Error{
		Code:    codes.Code(uint32(message.GetCode())),
		Reason:  message.GetReason(),
		Message: message.GetMessage(),
	}
	if field := message.GetField(); field != "" {
		err.Violations = []Violation{{Field: field, Message: message.GetMessage()}}
	}
	return err
}

// fromStatus returns what a call failed with as an error of ours.
func fromStatus(cause error) *Error {
	found := status.Convert(cause)
	err := &Error{Code: found.Code(), Message: found.Message(), status: found}
	if err.Message == "" {
		err.Message = strings.ToLower(found.Code().String())
	}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				err.Reason, err.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				err.Violations = append(err.Violations,
					Violation{Field: violation.GetField(), Message: violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			err.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *placetv1.ResidencyRefusal:
			err.Residency = detail
		}
	}
	return err
}

func codeOf(ended error) codes.Code { return status.FromContextError(ended).Code() }
