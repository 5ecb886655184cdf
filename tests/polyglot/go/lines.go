package main

import (
	"encoding/json"
	"errors"
	"os"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"

	placet "placet.dev/go"
)

var telling sync.Mutex

// tell writes a line.
func tell(line any) {
	encoded, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	telling.Lock()
	defer telling.Unlock()
	if _, err := os.Stdout.Write(append(encoded, '\n')); err != nil {
		os.Exit(1)
	}
}

// told is an error as drivers tell it.
type told struct {
	Code    string   `json:"code"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Fields  []string `json:"fields"`
}

func toldOf(err error) told {
	result := told{Code: codeOf(err), Message: err.Error(), Fields: []string{}}
	if failure := (*placet.Error)(nil); errors.As(err, &failure) {
		result.Reason, result.Message = failure.Reason, failure.Message
		for _, violation := range failure.Violations {
			result.Fields = append(result.Fields, violation.Field)
		}
	}
	return result
}

func codeOf(err error) string { return code.Code(status.Code(err)).String() }
