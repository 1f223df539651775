// SIGINT, SIGTERM and SIGUSR1 ask the run to stop: it finishes its step, writes a checkpoint and ends with code 85.
//
// A second SIGINT or SIGTERM, a second or more after the first, ends the process at once; sooner it is the same request
// arriving twice (a terminal signals the whole group and the launcher passes it on). SIGUSR1, which Slurm sends ahead of
// a time limit, never ends it.
#pragma once

namespace longspan {

// For commands that have nothing to save: the same signals end the process at once, with code 130 (kExitInterrupted) and
// `last_words`, a literal, on standard error.
void install_end_signals(const char* last_words);
// What is to be done before that. May do only what a signal handler may.
void before_end_by_signal(void (*action)());

void install_stop_signals();
bool stop_requested();

}  // namespace longspan
