#include "data/loader.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/philox.h"
#include "data/draws.h"

namespace ingot {

namespace {

TensorType batched(const TensorType& sample, std::int64_t batch_size) {
  TensorType type = sample;
  type.shape.insert(0, batch_size);
  type.layout = sample.layout.is_row_major() ? Layout::row_major() : Layout::channels_last(type.shape.rank());
  return type;
}

// Signals of the program must not be delivered to threads that it does not know of.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

void shuffled_order(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t>& order,
                    std::int64_t size) {
  order.resize(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  Hasher key;
  key.add(seed);
  key.add(std::string_view("shuffle"));
  Philox4 r{};
  for (std::uint64_t i = order.size(), draw = 0; i > 1; --i, ++draw) {
    if (draw % 2 == 0) r = philox4x32(key.value(), draw / 2, epoch);
    const std::uint32_t* const half = r.v + 2 * (draw % 2);
    const std::uint64_t bits = (std::uint64_t{half[0]} << 32) | half[1];
    // The high word of bits * i lies in [0, i), uniform to 2^-64 * i.
    __extension__ using Wide = unsigned __int128;
    const auto j = static_cast<std::size_t>((static_cast<Wide>(bits) * i) >> 64);
    std::swap(order[i - 1], order[j]);
  }
}

// Batches are numbered through all epochs: sequence = epoch * per_epoch + number, and sequence s lives in
// slot s % slots. Workers claim sequences in order; one may be claimed when the slot's previous tenant was
// released.
struct DataLoader::Impl {
  struct Slot {
    Batch batch;
    bool ready = false;
    std::exception_ptr error;
  };

  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  SampleTransform transform;
  std::int64_t size = 0, per_epoch = 0;
  TensorType input_type, target_type;
  std::vector<Slot> slots;

  // Used by the thread that calls next() alone.
  std::uint64_t epoch = 0;
  std::int64_t number = 0;
  double waited = 0.0;
  std::vector<std::byte> own_scratch;

  // Guarded by `mutex`, as are the slots that no worker is filling and the caller does not hold.
  std::mutex mutex;
  mutable std::mutex bad_mutex;  // of `skipped` and `known_bad`
  std::condition_variable may_claim, finished;
  std::uint64_t claimed = 0, released = 0;
  int busy = 0;
  bool paused = false, stopping = false;
  std::vector<std::int64_t> order;
  std::uint64_t order_epoch = 0;
  bool order_known = false;
  SkippedSamples skipped;
  std::vector<bool> known_bad;  // by sample; empty until one was found

  std::vector<std::thread> threads;

  static std::shared_ptr<const Dataset> not_null(std::shared_ptr<const Dataset> data) {
    if (data == nullptr) throw UsageError("DataLoader: the data set is null");
    return data;
  }

  Impl(std::shared_ptr<const Dataset> data, const LoaderOptions& o)
      : dataset(not_null(std::move(data))),
        options(o),
        transform(dataset->input_type(), o.augment, o.channels_last) {
    size = dataset->size();
    if (o.batch_size < 1) throw UsageError(cat("batch_size must be at least 1, got ", o.batch_size));
    if (o.workers < 0) throw UsageError(cat("workers must be at least 0, got ", o.workers));
    if (o.workers > kMostLoaderWorkers)
      throw UsageError(cat("workers expects at most ", kMostLoaderWorkers, ", got ", o.workers,
                           "; more workers than cores bring nothing"));
    if (o.prefetch < 1) throw UsageError(cat("prefetch must be at least 1, got ", o.prefetch));
    if (size < 1) throw UsageError("the data set holds no samples");
    per_epoch = o.drop_last ? size / o.batch_size : (size - 1) / o.batch_size + 1;
    if (per_epoch == 0)
      throw UsageError(
          cat("with drop_last, batches of ", o.batch_size, " leave nothing of ", size, " samples"));
    if (o.augment.random_resized_crop) {
      const RandomResizedCrop& c = *o.augment.random_resized_crop;
      if (!dataset->has_crops())
        throw UsageError(
            "random_resized_crop cuts parts out of image files, and this data set holds samples of one size; "
            "use "
            "crop_padding");
      if (!(c.least > 0.0 && c.least <= c.most && c.most <= 1.0 && c.narrowest > 0.0 &&
            c.narrowest <= c.widest))
        throw UsageError(
            cat("random_resized_crop: expected 0 < least <= most <= 1 and 0 < narrowest <= widest, got ",
                c.least, ", ", c.most, ", ", c.narrowest, ", ", c.widest));
    }
    input_type = batched(transform.output_type(), o.batch_size);
    target_type = batched(dataset->target_type(), o.batch_size);
    slots.resize(o.workers == 0 ? 1 : static_cast<std::size_t>(o.prefetch) + 1);
    for (Slot& slot : slots) {
      slot.batch.input = Tensor::zeros(input_type);
      slot.batch.target = Tensor::zeros(target_type);
      slot.batch.indices.reserve(static_cast<std::size_t>(o.batch_size));
    }
    order.reserve(static_cast<std::size_t>(size));
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    may_claim.notify_all();
    for (std::thread& t : threads) t.join();
  }

  void start() {
    const BlockSignals block;  // inherited by the new threads
    // A worker that comes late must not allocate then.
    try {
      for (int i = 0; i < options.workers; ++i)
        threads.emplace_back([this, scratch = make_scratch()]() mutable { work(scratch); });
    } catch (const std::system_error& e) {  // those that run are joined by the destructor
      throw DeviceError(cat("cannot start ", options.workers, " loader workers, ", threads.size(),
                            " are running: ", e.what(), "; use fewer"));
    }
  }

  Slot& slot_of(std::uint64_t sequence) { return slots[sequence % slots.size()]; }
  std::uint64_t sequence() const {
    return epoch * static_cast<std::uint64_t>(per_epoch) + static_cast<std::uint64_t>(number);
  }

  // Says which samples go into the slot; called with the mutex held, since the order is shared.
  void assign(std::uint64_t sequence, Batch& batch) {
    const auto batches = static_cast<std::uint64_t>(per_epoch);
    batch.epoch = sequence / batches;
    batch.number = static_cast<std::int64_t>(sequence % batches);
    const std::int64_t first = batch.number * options.batch_size;
    batch.valid = std::min(options.batch_size, size - first);
    batch.indices.resize(static_cast<std::size_t>(batch.valid));
    if (!options.shuffle) {
      std::iota(batch.indices.begin(), batch.indices.end(), first);
      return;
    }
    if (!order_known || order_epoch != batch.epoch) {
      shuffled_order(options.seed, batch.epoch, order, size);
      order_epoch = batch.epoch;
      order_known = true;
    }
    std::copy_n(order.begin() + first, batch.valid, batch.indices.begin());
  }

  // Reads one sample, and notes one that is left out: a thread that fills a batch does not hold the mutex.
  bool read_sample(const Batch& batch, std::int64_t index, std::span<std::byte> sample,
                   std::span<std::byte> target) {
    try {
      if (options.augment.random_resized_crop) {
        Draws draws(options.seed, "crop", batch.epoch, index);
        dataset->read_cropped(index, *options.augment.random_resized_crop, draws, sample, target);
      } else {
        dataset->read(index, sample, target);
      }
      return true;
    } catch (const BadSample& bad) {
      if (options.bad_samples == BadSamples::Refuse) throw;
      const std::lock_guard lock(bad_mutex);
      if (known_bad.empty()) known_bad.resize(static_cast<std::size_t>(size));
      if (!known_bad[static_cast<std::size_t>(index)]) {
        known_bad[static_cast<std::size_t>(index)] = true;
        ++skipped.count;
        if (skipped.messages.size() < SkippedSamples::kMostMessages)
          skipped.messages.push_back(bad.message());
      }
      return false;
    }
  }

  void fill(Batch& batch, std::vector<std::byte>& scratch) {
    const std::size_t row = transform.output_type().bytes(), target_row = dataset->target_type().bytes();
    std::byte* input = batch.input.as_bytes().data();
    std::byte* target = batch.target.as_bytes().data();
    std::size_t kept = 0;
    for (const std::int64_t index : batch.indices) {
      const std::span<std::byte> target_span(target, target_row);
      const std::span<std::byte> sample = transform.identity() ? std::span(input, row) : std::span(scratch);
      if (!read_sample(batch, index, sample, target_span)) continue;
      if (!transform.identity())
        transform.apply(scratch.data(), input, transform.choose(options.seed, batch.epoch, index));
      input += row;
      target += target_row;
      batch.indices[kept++] = index;
    }
    batch.indices.resize(kept);
    batch.valid = static_cast<std::int64_t>(kept);
    const auto padding = static_cast<std::size_t>(options.batch_size - batch.valid);
    if (padding != 0) {
      std::memset(input, 0, padding * row);
      std::memset(target, 0, padding * target_row);
    }
  }

  std::vector<std::byte> make_scratch() const {
    return std::vector<std::byte>(dataset->input_type().bytes());
  }

  void work(std::vector<std::byte>& scratch) {
    std::unique_lock lock(mutex);
    for (;;) {
      may_claim.wait(lock, [&] { return stopping || (!paused && claimed - released < slots.size()); });
      if (stopping) return;
      const std::uint64_t sequence = claimed++;
      Slot& slot = slot_of(sequence);
      ++busy;
      assign(sequence, slot.batch);
      lock.unlock();
      std::exception_ptr error;
      try {
        fill(slot.batch, scratch);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      slot.error = std::move(error);
      slot.ready = true;
      --busy;
      finished.notify_all();
    }
  }

  const Batch* next() {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const std::uint64_t wanted = sequence();
    Slot& slot = slot_of(wanted);
    std::unique_lock lock(mutex);
    if (released != wanted) {  // the batch that the caller held until now
      slot_of(released).ready = false;
      ++released;
      may_claim.notify_one();
    }
    if (number == per_epoch) {
      ++epoch;
      number = 0;
      return nullptr;
    }
    if (threads.empty()) {
      assign(wanted, slot.batch);
      fill(slot.batch, own_scratch);
      claimed = wanted + 1;
    } else {
      finished.wait(lock, [&] { return slot.ready; });
      if (slot.error) {
        // The position stays, and the slot keeps its error for the next call.
        const std::exception_ptr error = slot.error;
        lock.unlock();
        std::rethrow_exception(error);
      }
    }
    ++number;
    waited += std::chrono::duration<double>(Clock::now() - begin).count();
    return &slot.batch;
  }

  void move_to(std::uint64_t seed, std::uint64_t new_epoch, std::int64_t new_number) {
    std::unique_lock lock(mutex);
    paused = true;
    finished.wait(lock, [&] { return busy == 0; });
    if (seed != options.seed) order_known = false;
    options.seed = seed;
    epoch = new_epoch;
    number = new_number;
    claimed = released = sequence();
    for (Slot& slot : slots) {
      slot.ready = false;
      slot.error = nullptr;
    }
    paused = false;
    may_claim.notify_all();
  }
};

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options) {
  if (dataset == nullptr) throw UsageError("DataLoader needs a data set, got none");
  impl_ = std::make_unique<Impl>(std::move(dataset), options);
  impl_->own_scratch = impl_->make_scratch();
  impl_->start();
}

DataLoader::~DataLoader() = default;
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader& DataLoader::operator=(DataLoader&&) noexcept = default;

const Batch* DataLoader::next() {
  return impl_->next();
}
std::int64_t DataLoader::batches_per_epoch() const {
  return impl_->per_epoch;
}
TensorType DataLoader::input_type() const {
  return impl_->input_type;
}
TensorType DataLoader::target_type() const {
  return impl_->target_type;
}
const Dataset& DataLoader::dataset() const {
  return *impl_->dataset;
}
const LoaderOptions& DataLoader::options() const {
  return impl_->options;
}
double DataLoader::wait_seconds() const {
  return impl_->waited;
}
SkippedSamples DataLoader::skipped() const {
  const std::lock_guard lock(impl_->bad_mutex);
  return impl_->skipped;
}
std::size_t DataLoader::buffer_bytes() const {
  return impl_->slots.size() * (impl_->input_type.bytes() + impl_->target_type.bytes());
}

LoaderState DataLoader::state() const {
  return {impl_->options.seed, impl_->epoch, impl_->number, impl_->size, impl_->options.batch_size};
}

void DataLoader::restore(const LoaderState& state) {
  if (state.dataset_size != impl_->size || state.batch_size != impl_->options.batch_size)
    throw UsageError(cat("cannot go on at the saved position: it counts batches of ", state.batch_size,
                         " from ", state.dataset_size, " samples, this loader has batches of ",
                         impl_->options.batch_size, " from ", impl_->size,
                         "; resume with the same data and batch size"));
  if (state.next_batch < 0 || state.next_batch > impl_->per_epoch)
    throw UsageError(cat("cannot go on at batch ", state.next_batch, ": an epoch has ", impl_->per_epoch));
  impl_->move_to(state.seed, state.epoch, state.next_batch);
}

void DataLoader::start_epoch(std::uint64_t epoch) {
  impl_->move_to(impl_->options.seed, epoch, 0);
}

}  // namespace ingot
