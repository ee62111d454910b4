package main

// What travels with workflows: payloads, codecs, headers, memos, search attributes, summaries, priorities.

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

const bigBytes = 1_000_000

func reverse(_ context.Context, text string) (string, error) {
	letters := []rune(text)
	slices.Reverse(letters)
	return string(letters), nil
}

func carrier(ctx workflow.Context, text string) (told string, err error) {
	err = workflow.ExecuteActivity(patient(ctx), "reverse", text).Get(ctx, &told)
	return told, err
}

// The scenario's client and worker client with other options, on the same connections.
func (e *env) withOptions(options client.Options) {
	options.Logger = quiet{}
	for _, one := range []*client.Client{&e.client, &e.workerClient} {
		other, err := client.NewClientFromExisting(*one, options)
		must(err)
		*one = other
	}
}

var _ = scenario("payload of a megabyte", func(e *env) {
	w := e.work(named{"carrier": carrier}, named{"reverse": reverse})
	defer w.Stop()
	text := strings.Repeat("0123456789", bigBytes/10)
	run := e.start("carrier", text)
	equal(len(result[string](e, run)), bigBytes)
	equal(len(payloadText(e.history(run)[0].GetWorkflowExecutionStartedEventAttributes().Input)), bigBytes+2)
})

var _ = scenario("payload beyond the limit is refused", func(e *env) {
	_, err := e.tryStart(startOptions{}, "carrier", strings.Repeat("x", 2*1024*1024+1))
	as[*serviceerror.InvalidArgument](err)
})

var _ = scenario("payloads of many types", func(e *env) {
	type inner struct {
		Name  string
		Parts map[string][]int
	}
	types := func(_ workflow.Context, raw []byte, nothing *string, some inner, when time.Time) (string, error) {
		return fmt.Sprint(len(raw), nothing == nil, some.Name, some.Parts["a"], when.Year(), "äöü ✓"), nil
	}
	w := e.work(named{"types": types}, nil)
	defer w.Stop()
	raw := bytes.Repeat([]byte{0, 255}, 100)
	when := time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC)
	run := e.start("types", raw, (*string)(nil), inner{"lamp", map[string][]int{"a": {1, 2}}}, when)
	equal(result[string](e, run), fmt.Sprint(200, true, "lamp", []int{1, 2}, 2031, "äöü ✓"))
	payloads := e.history(run)[0].GetWorkflowExecutionStartedEventAttributes().Input.Payloads
	equal(string(payloads[0].Metadata["encoding"]), "binary/plain")
	equal(string(payloads[1].Metadata["encoding"]), "binary/null")
	equal(string(payloads[2].Metadata["encoding"]), "json/plain")
	equal(payloads[0].Data, raw)
})

var _ = scenario("codec on both sides", func(e *env) {
	zipped := converter.NewCodecDataConverter(
		converter.GetDefaultDataConverter(), converter.NewZlibCodec(converter.ZlibCodecOptions{AlwaysEncode: true}))
	plain := e.client
	e.withOptions(client.Options{DataConverter: zipped})
	e.replayOptions.DataConverter = zipped
	w := e.work(named{"carrier": carrier}, named{"reverse": reverse})
	defer w.Stop()
	run := e.startWith(startOptions{Memo: map[string]any{"secret": "hidden"}}, "carrier", strings.Repeat("plain text ", 20))
	check(strings.HasPrefix(result[string](e, run), " txet nialp"), "not reversed")
	started := e.history(run)[0].GetWorkflowExecutionStartedEventAttributes()
	equal(string(started.Input.Payloads[0].Metadata["encoding"]), "binary/zlib")
	// A client without the codec is refused by its own converter, not by the server.
	check(plain.GetWorkflow(e.ctx, run.GetID(), "").Get(e.ctx, new(string)) != nil, "it read what it could not")
})

var _ = scenario("undecodable input fails the workflow", func(e *env) {
	number := func(_ workflow.Context, number int) (int, error) { return number, nil }
	w := e.work(named{"number": number}, nil)
	defer w.Stop()
	failure := as[*temporal.ApplicationError](e.failure(e.start("number", "not a number")))
	check(strings.Contains(failure.Message(), "unable to decode"), "wrong failure: %v", failure)
})

type traceKey struct{}

// Carries a text from the caller into whatever the caller starts.
type tracing struct{}

func (tracing) Inject(ctx context.Context, writer workflow.HeaderWriter) error {
	return writeTrace(ctx.Value(traceKey{}), writer)
}

func (tracing) InjectFromWorkflow(ctx workflow.Context, writer workflow.HeaderWriter) error {
	return writeTrace(ctx.Value(traceKey{}), writer)
}

func (tracing) Extract(ctx context.Context, reader workflow.HeaderReader) (context.Context, error) {
	return context.WithValue(ctx, traceKey{}, readTrace(reader)), nil
}

func (tracing) ExtractToWorkflow(ctx workflow.Context, reader workflow.HeaderReader) (workflow.Context, error) {
	return workflow.WithValue(ctx, traceKey{}, readTrace(reader)), nil
}

func writeTrace(value any, writer workflow.HeaderWriter) error {
	text, known := value.(string)
	if !known {
		return nil
	}
	payload, err := converter.GetDefaultDataConverter().ToPayload(text)
	writer.Set("trace", payload)
	return err
}

func readTrace(reader workflow.HeaderReader) string {
	text := ""
	if payload, there := reader.Get("trace"); there {
		must(converter.GetDefaultDataConverter().FromPayload(payload, &text))
	}
	return text
}

var _ = scenario("headers travel with every call", func(e *env) {
	e.withOptions(client.Options{ContextPropagators: []workflow.ContextPropagator{tracing{}}})
	e.replayOptions.ContextPropagators = []workflow.ContextPropagator{tracing{}}
	told := func(ctx context.Context) (string, error) { return ctx.Value(traceKey{}).(string), nil }
	traced := func(ctx workflow.Context) (string, error) {
		trace := ctx.Value(traceKey{}).(string)
		ctx = workflow.WithValue(ctx, traceKey{}, trace+", workflow")
		var answer string
		err := workflow.ExecuteActivity(patient(ctx), "told").Get(ctx, &answer)
		return answer, err
	}
	w := e.work(named{"traced": traced}, named{"told": told})
	defer w.Stop()
	e.ctx = context.WithValue(e.ctx, traceKey{}, "client")
	run := e.start("traced")
	equal(result[string](e, run), "client, workflow")
	scheduled := e.history(run).one(enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED).GetActivityTaskScheduledEventAttributes()
	equal(string(scheduled.Header.Fields["trace"].Data), `"client, workflow"`)
})

var _ = scenario("memo upsert", func(e *env) {
	remembering := func(ctx workflow.Context) (string, error) {
		before := memoText(ctx, "kept") + memoText(ctx, "dropped")
		if err := workflow.UpsertMemo(ctx, map[string]any{"kept": "changed", "dropped": nil, "added": []int{1}}); err != nil {
			return "", err
		}
		err := workflow.Sleep(ctx, 10*time.Millisecond)
		return before + memoText(ctx, "kept") + memoText(ctx, "added"), err
	}
	w := e.work(named{"remembering": remembering}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{Memo: map[string]any{"kept": 1, "dropped": 2}}, "remembering")
	equal(result[string](e, run), `12"changed"[1]`)
	fields := e.describe(run).WorkflowExecutionInfo.Memo.Fields
	equal(len(fields), 2)
	equal(string(fields["kept"].Data), `"changed"`)
	e.history(run).one(enumspb.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED)
})

var _ = scenario("search attributes upsert", func(e *env) {
	// Both are predefined, and free for clients to set.
	user := temporal.NewSearchAttributeKeyKeyword("BatcherUser")
	builds := temporal.NewSearchAttributeKeyKeywordList("BuildIds")
	searchable := func(ctx workflow.Context) (string, error) {
		before, _ := workflow.GetTypedSearchAttributes(ctx).GetKeyword(user)
		err := workflow.UpsertTypedSearchAttributes(ctx, user.ValueSet("grace"), builds.ValueSet([]string{"one", "two"}))
		if err != nil {
			return "", err
		}
		middle := workflow.GetTypedSearchAttributes(ctx)
		after, _ := middle.GetKeyword(user)
		list, _ := middle.GetKeywordList(builds)
		return fmt.Sprint([]string{before, after}, list), workflow.UpsertTypedSearchAttributes(ctx, builds.ValueUnset())
	}
	w := e.work(named{"searchable": searchable}, nil)
	defer w.Stop()
	given := temporal.NewSearchAttributes(user.ValueSet("ada"))
	run := e.startWith(startOptions{TypedSearchAttributes: given}, "searchable")
	equal(result[string](e, run), "[ada grace] [one two]")
	fields := e.describe(run).WorkflowExecutionInfo.SearchAttributes.IndexedFields
	equal(string(fields["BatcherUser"].Data), `"grace"`)
	equal(string(fields["BatcherUser"].Metadata["type"]), "Keyword")
	equal(len(e.history(run).all(enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)), 2)
})

var _ = scenario("summaries and details", func(e *env) {
	labelled := func(ctx workflow.Context) error {
		workflow.SetCurrentDetails(ctx, "on its way")
		nap := workflow.NewTimerWithOptions(ctx, 10*time.Millisecond, workflow.TimerOptions{Summary: "a short nap"})
		if err := nap.Get(ctx, nil); err != nil {
			return err
		}
		options := workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second, RetryPolicy: &quickRetry, Summary: "turn it round"}
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "reverse", "abc").Get(ctx, nil)
	}
	w := e.work(named{"labelled": labelled}, named{"reverse": reverse})
	defer w.Stop()
	run := e.startWith(startOptions{StaticSummary: "in short", StaticDetails: "at length"}, "labelled")
	must(run.Get(e.ctx, nil))
	metadata := e.describe(run).ExecutionConfig.UserMetadata
	equal(string(metadata.Summary.Data)+string(metadata.Details.Data), `"in short""at length"`)
	labels := []string{}
	for _, event := range e.history(run) {
		if event.UserMetadata != nil {
			labels = append(labels, string(event.UserMetadata.Summary.Data))
		}
	}
	equal(labels, []string{`"in short"`, `"a short nap"`, `"turn it round"`})
})

var _ = scenario("priorities are recorded", func(e *env) {
	prioritised := func(ctx workflow.Context) (int, error) {
		first := workflow.WithPriority(patient(ctx), temporal.Priority{PriorityKey: 1})
		if err := workflow.ExecuteActivity(first, "told").Get(ctx, nil); err != nil {
			return 0, err
		}
		var told int
		err := workflow.ExecuteActivity(patient(ctx), "told").Get(ctx, &told)
		return told, err
	}
	told := func(ctx context.Context) (int, error) { return activity.GetInfo(ctx).Priority.PriorityKey, nil }
	// Tasks that come by the queue know what the activity inherits.
	w := e.workWith(workerOptions{DisableEagerActivities: true}, e.queue, named{"prioritised": prioritised}, named{"told": told})
	defer w.Stop()
	priority := temporal.Priority{PriorityKey: 4, FairnessKey: "tenant", FairnessWeight: 2.5}
	run := e.startWith(startOptions{Priority: priority}, "prioritised")
	// An activity without a priority has that of its workflow.
	equal(result[int](e, run), 4)
	started := e.history(run)[0].GetWorkflowExecutionStartedEventAttributes().Priority
	equal(fmt.Sprint(started.PriorityKey, started.FairnessKey, started.FairnessWeight), "4tenant2.5")
})

var _ = scenario("history of a thousand events in pages", func(e *env) {
	long := func(ctx workflow.Context) error {
		for range 120 {
			if err := workflow.ExecuteActivity(patient(ctx), "reverse", "a").Get(ctx, nil); err != nil {
				return err
			}
		}
		timers := []workflow.Future{}
		for range 260 {
			timers = append(timers, workflow.NewTimer(ctx, time.Millisecond))
		}
		for _, timer := range timers {
			if err := timer.Get(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	}
	w := e.work(named{"long": long}, named{"reverse": reverse})
	defer w.Stop()
	run := e.start("long")
	must(run.Get(e.ctx, nil))
	whole := e.history(run)
	check(len(whole) > 1000, "only %d events", len(whole))
	seen, pages := history{}, 0
	request := &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: "default", Execution: &commonpb.WorkflowExecution{WorkflowId: run.GetID()}, MaximumPageSize: 100,
	}
	for {
		var response *workflowservice.GetWorkflowExecutionHistoryResponse
		e.repeated(func() (err error) {
			response, err = e.client.WorkflowService().GetWorkflowExecutionHistory(e.ctx, request)
			return err
		})
		seen, pages = append(seen, response.History.Events...), pages+1
		if request.NextPageToken = response.NextPageToken; len(request.NextPageToken) == 0 {
			break
		}
	}
	check(pages > 1, "one page only")
	equal(len(seen), len(whole))
	for index, event := range seen {
		equal(event.EventId, int64(index+1))
	}
})
