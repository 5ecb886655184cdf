package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	placet "placet.dev/go"
	placetv1 "placet.dev/go/placet/v1"
)

const longestLine = 16 << 20

type question struct {
	ID      string          `json:"id"`
	Request json.RawMessage `json:"request"`
}

type answer struct {
	ID       string          `json:"id"`
	Response json.RawMessage `json:"response,omitempty"`
	Error    *told           `json:"error,omitempty"`
}

// golden answers line by line until there are no more.
func golden(target string) error {
	client, err := placet.NewClient(target, "", placet.WithTimeout(10*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		var request placetv1.EvaluateRequest
		if err := protojson.Unmarshal(asked.Request, &request); err != nil {
			return err
		}
		tell(ask(client, asked.ID, &request))
	}
	return lines.Err()
}

func ask(client *placet.Client, id string, request *placetv1.EvaluateRequest) answer {
	decision, err := client.EvaluateMessage(context.Background(), request)
	if err != nil {
		failure := toldOf(err)
		return answer{ID: id, Error: &failure}
	}
	response, err := protojson.Marshal(&placetv1.EvaluateResponse{Decision: decision.Wire})
	if err != nil {
		panic(err)
	}
	return answer{ID: id, Response: response}
}
