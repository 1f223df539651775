// SIGINT, SIGTERM and SIGUSR1 ask the run to stop: it finishes its step, writes a checkpoint and ends with code 85.
//
// A second SIGINT or SIGTERM, a second or more after the first, ends the process at once; sooner it is the same request
// arriving twice (a terminal signals the whole group and the launcher passes it on). SIGUSR1, which Slurm sends ahead of
// a time limit, never ends it.
//
// A thread of its own waits for the signals; no handler interrupts the others. That is not taste: generated code of a matrix
// library may use its stack pointer for something else, and a handler's frame then overwrites the heap (oneDNN 2.6 on AVX-512).
// So both functions below are called before any other thread exists, which then inherits that the signals are blocked.
#pragma once

namespace longspan {

// For commands that have nothing to save: the same signals end the process at once, with code 130 (kExitInterrupted) and
// `last_words` on standard error.
void install_end_signals(const char* last_words);
// What is to be done before that, on the thread that waits for signals.
void before_end_by_signal(void (*action)());

void install_stop_signals();
bool stop_requested();

}  // namespace longspan
