#include "parallel/comm/nccl/guarded_link.h"

#include <exception>
#include <thread>

namespace longspan::nccl {

void Clock::rest() { std::this_thread::yield(); }

GuardedLink::GuardedLink(std::unique_ptr<Link> link, const std::string& group, std::chrono::milliseconds timeout,
                         std::shared_ptr<Clock> clock)
    : link_(std::move(link)), group_(group), timeout_(timeout), clock_(std::move(clock)) {
  settle("connect", "some rank");
}

GuardedLink::~GuardedLink() {
  if (given_up()) return;
  try {
    if (std::uncaught_exceptions() == 0) progress();
    if (std::uncaught_exceptions() == 0 && under_way_.empty() && !given_up()) {
      finalize();
      return;
    }
  } catch (...) {  // it has been given up
  }
  if (!given_up()) link_->abort();
}

void GuardedLink::finalize() {
  const Answer answer = link_->finalize();
  if (answer.failed()) give_up("finalize", answer.text);
  settle("finalize", "some rank");
}

std::shared_ptr<Operation> GuardedLink::start(Stream& compute, What what, const std::function<Answer(Link&)>& add) {
  if (!under_way_.empty() && !under_way_.back()->end_) settle(what.call, under_way_.back()->peers_);
  look(what.call);
  auto operation = std::make_shared<Operation>();
  operation->call_ = std::move(what.call);
  operation->peers_ = std::move(what.peers);
  operation->held_ = std::move(what.held);
  try {
    operation->ready_ = link_->follow(compute);
    begin_span(*operation, compute, what.args);
    const Answer answer = add(*link_);
    if (answer.failed()) give_up(operation->call_, answer.text);
    if (answer.done()) mark_end(*operation);
  } catch (const std::exception& error) {
    if (given_up()) throw;
    give_up(operation->call_, error.what());
  }
  under_way_.push_back(operation);
  // A point that came later would count what the host did meanwhile.
  if (operation->tracer_ && !operation->end_) settle(operation->call_, operation->peers_);
  return operation;
}

void GuardedLink::begin_span(Operation& operation, const Stream& compute, const TraceArgs& args) {
  const std::shared_ptr<Tracer>& tracer = compute.tracer();
  if (!tracer || !tracer->times_streams()) return;
  auto begin = link_->mark_time();
  if (!begin) return;
  operation.tracer_ = tracer;
  operation.span_ = tracer->begin_on_stream(this, "communication stream, " + group_, args, std::move(begin));
}

// NCCL has added all of it to the stream.
void GuardedLink::mark_end(Operation& operation) {
  if (operation.tracer_) operation.span_.end = link_->mark_time();
  operation.end_ = link_->mark();
}

bool GuardedLink::test(Operation& operation) {
  if (!operation.done_) look(operation.call_);
  return operation.done_;
}

void GuardedLink::wait(Operation& operation) {
  auto deadline = clock_->now() + timeout_;
  while (!test(operation)) {
    if (compute_is_ahead(operation)) deadline = clock_->now() + timeout_;
    if (clock_->now() > deadline) give_up(operation.call_, silence(operation.peers_));
    clock_->rest();
  }
}

void GuardedLink::progress() noexcept {
  try {
    if (!given_up()) look("progress");
  } catch (...) {  // kept in failure_
  }
}

// Until NCCL has done what it was last asked.
void GuardedLink::settle(const std::string& call, const std::string& peers) {
  const auto deadline = clock_->now() + timeout_;
  for (look(call); !link_->state().done(); look(call)) {
    if (clock_->now() > deadline) give_up(call, silence(peers));
    clock_->rest();
  }
  look(call);
}

// Sees what has changed. An error counts even where an operation seems done: what the peers do from now on is of no use.
void GuardedLink::look(const std::string& call) {
  if (given_up()) throw CommError(fmt::format("{} in {}: the group was given up before: {}", call, group_, failure_));
  const Answer health = link_->state();
  if (health.failed()) give_up(call, health.text);
  if (!under_way_.empty() && !under_way_.back()->end_ && health.done()) {
    try {
      mark_end(*under_way_.back());
    } catch (const std::exception& error) {
      give_up(under_way_.back()->call_, error.what());
    }
  }
  while (!under_way_.empty() && under_way_.front()->end_) {
    Operation& first = *under_way_.front();
    const Answer answer = first.end_->reached();
    if (answer.failed()) give_up(first.call_, answer.text);
    if (!answer.done()) return;
    first.done_ = true;
    if (first.tracer_) first.tracer_->keep(std::move(first.span_));
    first.tracer_.reset();
    first.held_.clear();
    first.ready_.reset();
    first.end_.reset();
    under_way_.pop_front();
  }
}

bool GuardedLink::compute_is_ahead(Operation& operation) {
  if (!operation.ready_) return false;
  const Answer answer = operation.ready_->reached();
  if (answer.failed()) give_up(operation.call_, answer.text);
  if (answer.done()) operation.ready_.reset();
  return !answer.done();
}

void GuardedLink::give_up(const std::string& call, const std::string& reason) {
  failure_ = fmt::format("{} in {}: {}", call, group_, reason);
  link_->abort();
  for (const auto& operation : under_way_) operation->held_.clear();
  under_way_.clear();
  throw CommError(failure_);
}

std::string GuardedLink::silence(const std::string& peers) const {
  std::string text =
      fmt::format("no answer from {} within {:.3g} s", peers, static_cast<double>(timeout_.count()) / 1e3);
  if (under_way_.size() > 1) {
    text += fmt::format("; the oldest of {} operations under way is {} with {}", under_way_.size(),
                        under_way_.front()->call_, under_way_.front()->peers_);
  }
  return text;
}

}  // namespace longspan::nccl
