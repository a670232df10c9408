// DataLoader: a data set as a stream of batches that worker threads prepare ahead.
//
// Which samples a batch holds, and every bit of it, is a pure function of (seed, epoch, batch number): the
// number of workers changes nothing but time. The batches live in a fixed ring of buffers; after the first
// round nothing is allocated. Workers go on into the next epoch while the last batches of this one are used.
// A last batch that is short is padded with zero samples of target 0, and says how many of its rows are
// valid; so is a batch of which damaged samples were left out. One thread calls next().
//
//   DataLoader loader(fashion_mnist(Split::Train), {.batch_size = 64, .shuffle = true, .seed = 7});
//   for (int epoch = 0; epoch < 5; ++epoch)
//     while (const Batch* batch = loader.next())        // null once, between epochs
//       session.run({batch->input, batch->target});
//   LoaderState s = loader.state();                     // ... and later, in another process
//   loader.restore(s);                                  // goes on with the very next batch
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/ir/tensor.h"
#include "data/augment.h"
#include "data/dataset.h"

namespace ingot {

// More than any machine has cores for; each worker is a thread with its own scratch memory.
inline constexpr int kMostLoaderWorkers = 1024;

// What a loader does with samples that the data set cannot read (BadSample): throw the error in the batch's
// turn, or leave them out of their batches and count them.
enum class BadSamples : std::uint8_t { Refuse, Skip };

// What was left out: how many samples of the data set, and what was wrong with the first of them.
struct SkippedSamples {
  std::int64_t count = 0;
  std::vector<std::string> messages;  // at most kMostMessages
  static constexpr std::size_t kMostMessages = 20;
};

struct LoaderOptions {
  std::int64_t batch_size = 64;
  bool shuffle = false;
  std::uint64_t seed = 0;
  int workers = 1;         // at most kMostLoaderWorkers; 0: next() prepares the batch itself
  int prefetch = 4;        // batches that may stand ready, besides the one in use
  bool drop_last = false;  // leaves out a short last batch instead of padding it
  bool channels_last = false;
  // Every class as often as every other: an epoch visits as many samples, those of rare classes several
  // times. Needs a data set that knows its labels (Dataset::label).
  bool balance_classes = false;
  BadSamples bad_samples = BadSamples::Refuse;
  Augment augment = {};
};

struct Batch {
  Tensor input, target;               // [batch_size, ...]
  Tensor other_target;                // of what was mixed in by MixUp or CutMix; empty without
  double share = 1.0;                 // of `target`; the rest is of `other_target`
  std::int64_t valid = 0;             // rows that hold samples; the rest is padding. 0 when all were left out
  std::uint64_t epoch = 0;            // counted from 0
  std::int64_t number = 0;            // within the epoch
  std::vector<std::int64_t> indices;  // of the samples in the data set, `valid` of them
};

// What it takes to go on exactly where a loader stood.
struct LoaderState {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::int64_t next_batch = 0;  // batches_per_epoch() when the epoch's batches are used up
  std::int64_t dataset_size = 0, batch_size = 0;
  friend bool operator==(const LoaderState&, const LoaderState&) = default;
};

class DataLoader {
 public:
  // Throws UsageError when the options are illegal or give no batch at all.
  DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  ~DataLoader();
  DataLoader(DataLoader&&) noexcept;
  DataLoader& operator=(DataLoader&&) noexcept;

  // The next batch, valid until the following call on this loader; null at the end of each epoch, after which
  // the next epoch begins. What the data set throws in a worker is thrown here, in its batch's turn, and
  // again by each call until restore() or start_epoch().
  const Batch* next();

  std::int64_t batches_per_epoch() const;
  TensorType input_type() const;   // of a batch
  TensorType target_type() const;  // of a batch
  const Dataset& dataset() const;
  const LoaderOptions& options() const;

  LoaderState state() const;
  // Takes over seed and position. Throws UsageError when the state belongs to another data set size or batch
  // size, since its position would then mean other samples.
  void restore(const LoaderState& state);
  // Leaves the rest of the current epoch and begins `epoch`.
  void start_epoch(std::uint64_t epoch);

  // Seconds that next() has waited since construction: against the time of the loop, how far it is
  // input-bound.
  double wait_seconds() const;
  // Samples left out since construction, each counted once.
  SkippedSamples skipped() const;
  // Bytes of the batches' tensors, all allocated by the constructor.
  std::size_t buffer_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The order in which an epoch visits `size` samples: a Fisher-Yates shuffle driven by Philox(seed, epoch).
void shuffled_order(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t>& order,
                    std::int64_t size);

}  // namespace ingot
