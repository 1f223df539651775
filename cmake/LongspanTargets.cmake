# Helpers that every room's CMakeLists.txt uses, and the compiler flags of the whole house.

option(LONGSPAN_BUILD_TESTS "Build the tests" ON)
option(LONGSPAN_FUZZ "Build the fuzz targets of tests/fuzz, and nothing else; for clang" OFF)
set(LONGSPAN_SANITIZER "" CACHE STRING "Empty, or what -fsanitize takes: thread, or address,undefined")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")

add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-Wall> $<$<COMPILE_LANGUAGE:C,CXX>:-Wextra>
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wpedantic> $<$<COMPILE_LANGUAGE:C,CXX>:-Wshadow> $<$<COMPILE_LANGUAGE:C,CXX>:-Wno-psabi>
  $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
if(LONGSPAN_SANITIZER)
  add_compile_options(-fsanitize=${LONGSPAN_SANITIZER} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # GCC's flow analysis sees uninitialised values in instrumented standard headers (<regex>) that are none.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${LONGSPAN_SANITIZER})
endif()

# longspan_library(name SOURCES a.cc ... DEPENDS target ...): one room, as longspan::name.
function(longspan_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(longspan_${name} STATIC ${ARG_SOURCES})
  add_library(longspan::${name} ALIAS longspan_${name})
  set_target_properties(longspan_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(longspan_${name} PUBLIC cxx_std_20)
  target_include_directories(longspan_${name} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR};${PROJECT_BINARY_DIR}>" $<INSTALL_INTERFACE:include/longspan>)
  target_link_libraries(longspan_${name} PUBLIC ${ARG_DEPENDS})
endfunction()

# longspan_cpu_kernels(target [LEVELS level ...] SOURCES source ...): compiles each source once per instruction set, in the
# namespace that LS_CPU_LEVEL names; cpu_level.h picks one at run time. Without LEVELS: those of the vectors.
function(longspan_cpu_kernels target)
  cmake_parse_arguments(ARG "" "" "LEVELS;SOURCES" ${ARGN})
  set(flags_portable "")
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512)
  set(flags_avx512_bf16 ${flags_avx512} -mavx512bf16)
  # The compiler's own scheduling takes apart what is interleaved by hand there.
  set(flags_amx ${flags_avx512_bf16} -mamx-tile -mamx-bf16
    $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns> $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns2>)
  # The sources of amx, for tests on machines without it (tests/support).
  set(flags_amx_emulated ${flags_avx512})
  set(flags_amx_emulated_bf16 ${flags_avx512_bf16})
  set(levels ${ARG_LEVELS})
  if(NOT levels)
    set(levels portable avx2 avx512)
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER levels INCLUDE REGEX "^portable$")
  endif()
  foreach(level ${levels})
    add_library(${target}_${level} OBJECT ${ARG_SOURCES})
    target_compile_definitions(${target}_${level} PRIVATE LS_CPU_LEVEL=${level})
    target_compile_options(${target}_${level} PRIVATE ${flags_${level}} -fno-math-errno -ffp-contract=fast)
    target_include_directories(${target}_${level} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target}_${level} PRIVATE fmt::fmt)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${level}>)
  endforeach()
endfunction()

# longspan_proto(target path/to/file.proto): the schema's C++ as a library; included as "path/to/file.pb.h".
function(longspan_proto target proto)
  set(directory ${PROJECT_BINARY_DIR}/proto)
  string(REGEX REPLACE "\\.proto$" "" stem ${proto})
  set(outputs ${directory}/${stem}.pb.cc ${directory}/${stem}.pb.h)
  add_custom_command(OUTPUT ${outputs}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${directory}
    COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR} --cpp_out=${directory} ${proto}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    DEPENDS ${PROJECT_SOURCE_DIR}/${proto}
    VERBATIM)
  # Generated code is held to protobuf's rules, not to ours.
  add_library(${target} STATIC ${outputs})
  target_include_directories(${target} SYSTEM PUBLIC ${directory})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  target_compile_options(${target} PRIVATE -w)
  set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
endfunction()
