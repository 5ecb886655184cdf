package dev.placet.client;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import dev.placet.v1.Decision;
import dev.placet.v1.EvaluateBatchRequest;
import dev.placet.v1.EvaluateBatchResponse;
import dev.placet.v1.EvaluateRequest;
import dev.placet.v1.EvaluateResponse;
import dev.placet.v1.EvaluateServiceGrpc;
import dev.placet.v1.Outcome;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Consumer;
import java.util.function.Function;

/** Answers call after call as a script says; when that is over, hangs. */
final class ScriptedEvaluation extends EvaluateServiceGrpc.EvaluateServiceImplBase {

  private final Queue<Consumer<StreamObserver<EvaluateResponse>>> script =
      new ConcurrentLinkedQueue<>();
  final List<EvaluateRequest> asked = new CopyOnWriteArrayList<>();
  final BlockingQueue<Integer> cancelled = new LinkedBlockingQueue<>();
  Function<EvaluateBatchRequest, EvaluateBatchResponse> batch =
      request -> EvaluateBatchResponse.getDefaultInstance();

  ScriptedEvaluation then(Consumer<StreamObserver<EvaluateResponse>> answer) {
    script.add(answer);
    return this;
  }

  ScriptedEvaluation thenHang() {
    return then(observer -> {});
  }

  ScriptedEvaluation thenAllow(String node) {
    return then(observer -> allow(observer, node));
  }

  ScriptedEvaluation thenAnswer(Decision.Builder decision) {
    return then(observer -> answer(observer, decision.build()));
  }

  ScriptedEvaluation thenFail(StatusRuntimeException failure) {
    return then(observer -> observer.onError(failure));
  }

  static void allow(StreamObserver<EvaluateResponse> observer, String node) {
    answer(observer, Decision.newBuilder().setOutcome(Outcome.OUTCOME_ALLOW).setNode(node).build());
  }

  static void answer(StreamObserver<EvaluateResponse> observer, Decision decision) {
    observer.onNext(EvaluateResponse.newBuilder().setDecision(decision).build());
    observer.onCompleted();
  }

  static StatusRuntimeException failure(Status.Code code, String text, Message... details) {
    var status = com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage(text);
    for (Message detail : details) {
      status.addDetails(Any.pack(detail));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }

  @Override
  public void evaluate(EvaluateRequest request, StreamObserver<EvaluateResponse> observer) {
    int number;
    synchronized (this) {
      number = asked.size();
      asked.add(request);
    }
    ((ServerCallStreamObserver<EvaluateResponse>) observer)
        .setOnCancelHandler(() -> cancelled.add(number));
    var answer = script.poll();
    if (answer != null) {
      answer.accept(observer);
    }
  }

  @Override
  public void evaluateBatch(
      EvaluateBatchRequest request, StreamObserver<EvaluateBatchResponse> observer) {
    observer.onNext(batch.apply(request));
    observer.onCompleted();
  }
}
