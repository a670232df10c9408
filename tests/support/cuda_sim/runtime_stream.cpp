// The CUDA runtime's functions on streams and events, replaced.
#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "tests/support/cuda_sim/prelude.h"
#include "tests/support/cuda_sim/report.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

namespace {

cudaError_t make_stream(Machine& m, cudaStream_t* result, unsigned flags) {
  auto stream = std::make_unique<StreamState>();
  stream->id = m.next_id++;
  stream->non_blocking = (flags & cudaStreamNonBlocking) != 0;
  *result = m.new_handle<cudaStream_t>();
  m.streams.emplace(*result, std::move(stream));
  return cudaSuccess;
}

EventState* find_event(Machine& m, cudaEvent_t handle) {
  const auto found = m.events.find(handle);
  return found == m.events.end() ? nullptr : found->second.get();
}

// An event recorded in a stream that is, or was, being captured marks no work that runs.
cudaError_t check_not_captured(Machine& m, const EventState& event) {
  if (event.capture == nullptr) return cudaSuccess;
  return event.capture->ended ? cudaErrorCapturedEvent : m.invalidate(event.capture, cudaErrorCapturedEvent);
}

cudaError_t wait_event(Machine& m, StreamState& stream, EventState& event) {
  if (event.capture == nullptr) {
    if (event.op == nullptr) return cudaSuccess;  // never recorded: CUDA waits for nothing
    if (stream.capture != nullptr) return m.invalidate(stream.capture, cudaErrorStreamCaptureIsolation);
    stream.waits.push_back(event.op);
    return m.submit(stream, nullptr);
  }
  if (event.capture->ended) return cudaErrorCapturedEvent;
  if (event.capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (&stream == &m.legacy()) return m.invalidate(event.capture, cudaErrorStreamCaptureImplicit);
  if (stream.capture == nullptr) {
    stream.capture = event.capture;  // the stream joins
    stream.tail = event.nodes;
    return cudaSuccess;
  }
  if (stream.capture != event.capture) {
    (void)m.invalidate(event.capture, cudaErrorStreamCaptureMerge);
    return m.invalidate(stream.capture, cudaErrorStreamCaptureMerge);
  }
  for (const std::size_t node : event.nodes)
    if (std::find(stream.tail.begin(), stream.tail.end(), node) == stream.tail.end())
      stream.tail.push_back(node);
  return cudaSuccess;
}

}  // namespace

void run_on_device(cudaStream_t handle, const char* name, std::function<void()> work) {
  const cudaError_t status = runtime_call(name, [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    return m.submit(*stream, [&m, name, work = std::move(work)] {
      m.kernels_run.emplace(name);
      try {
        work();
        return cudaSuccess;
      } catch (const std::exception& e) {
        report(Fault::Foreign, cat(name, ": ", e.what()));
        return cudaErrorLaunchFailure;
      }
    });
  });
  if (status != cudaSuccess) throw DeviceError(cat(name, ": ", cudaGetErrorName(status)));
}

}  // namespace ingot::sim

using namespace ingot::sim;

extern "C" {

// Priorities are hints; the simulator's order is the policy's.
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* result, unsigned flags, int) {
  return runtime_call("cudaStreamCreateWithPriority",
                      [&](Machine& m) { return make_stream(m, result, flags); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* result, unsigned flags) {
  return runtime_call("cudaStreamCreateWithFlags", [&](Machine& m) { return make_stream(m, result, flags); });
}

// Returns at once; work that was issued still runs.
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return release_call("cudaStreamDestroy", [&](Machine& m) {
    const auto found = m.streams.find(handle);
    if (found == m.streams.end()) return m.bad_handle("stream", handle);
    if (const auto capture = std::exchange(found->second->capture, nullptr)) {
      (void)m.invalidate(capture, cudaErrorStreamCaptureInvalidated);
      if (capture->origin == handle) std::erase(m.captures, capture);
    }
    m.destroyed.push_back(std::move(found->second));
    m.streams.erase(found);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return runtime_call("cudaStreamSynchronize", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
    ++m.counters.synchronisations;
    return m.finish(stream->last);
  });
}

// Each question lets the device do a little, so that a loop of them comes to an end.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return runtime_call("cudaStreamQuery", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
    if (stream->last == nullptr || stream->last->done) return m.sticky;
    m.advance(stream->last);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
  return runtime_call("cudaStreamWaitEvent", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    EventState* const event = find_event(m, event_handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (event == nullptr) return m.bad_handle("event", event_handle);
    return wait_event(m, *stream, *event);
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* result, unsigned flags) {
  return runtime_call("cudaEventCreateWithFlags", [&](Machine& m) {
    auto event = std::make_unique<EventState>();
    event->id = m.next_id++;
    event->timing = (flags & cudaEventDisableTiming) == 0;
    *result = m.new_handle<cudaEvent_t>();
    m.events.emplace(*result, std::move(event));
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return release_call("cudaEventDestroy", [&](Machine& m) {
    if (m.events.erase(handle) == 0) return m.bad_handle("event", handle);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  return runtime_call("cudaEventRecord", [&](Machine& m) {
    StreamState* const stream = m.stream(stream_handle);
    EventState* const event = find_event(m, handle);
    if (stream == nullptr) return m.bad_handle("stream", stream_handle);
    if (event == nullptr) return m.bad_handle("event", handle);
    if (stream->capture != nullptr) {
      if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
      event->capture = stream->capture;
      event->nodes = stream->tail;
      event->op = nullptr;
      return cudaSuccess;
    }
    const cudaError_t status = m.submit(*stream, nullptr);
    if (status != cudaSuccess) return status;
    event->capture = nullptr;
    event->op = stream->last;
    return m.sticky;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return runtime_call("cudaEventSynchronize", [&](Machine& m) {
    EventState* const event = find_event(m, handle);
    if (event == nullptr) return m.bad_handle("event", handle);
    if (const cudaError_t status = check_not_captured(m, *event); status != cudaSuccess) return status;
    ++m.counters.synchronisations;
    return m.finish(event->op);
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return runtime_call("cudaEventQuery", [&](Machine& m) {
    EventState* const event = find_event(m, handle);
    if (event == nullptr) return m.bad_handle("event", handle);
    if (const cudaError_t status = check_not_captured(m, *event); status != cudaSuccess) return status;
    if (event->op == nullptr || event->op->done) return m.sticky;
    m.advance(event->op);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start_handle, cudaEvent_t end_handle) {
  return runtime_call("cudaEventElapsedTime", [&](Machine& m) {
    EventState *const start = find_event(m, start_handle), *const end = find_event(m, end_handle);
    if (start == nullptr) return m.bad_handle("event", start_handle);
    if (end == nullptr) return m.bad_handle("event", end_handle);
    if (!start->timing || !end->timing || start->op == nullptr || end->op == nullptr)
      return cudaErrorInvalidResourceHandle;
    if (!start->op->done || !end->op->done) return cudaErrorNotReady;
    *milliseconds = static_cast<float>(end->op->finished - start->op->finished);
    return cudaSuccess;
  });
}

}  // extern "C"
