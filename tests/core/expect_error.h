// Asserts that something raises an Error of a kind, whose message holds some words.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "core/base/error.h"

namespace longspan::test {

template <class Body>
void expect_error(ErrorKind kind, std::initializer_list<const char*> words, Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    for (const char* word : words) EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    return;
  }
  ADD_FAILURE() << "nothing was raised; expected the words " << *words.begin();
}

}  // namespace longspan::test
