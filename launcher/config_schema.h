// Questions about the schema of the configuration, answered by reflection.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace longspan {

const google::protobuf::Descriptor& config_descriptor();

std::vector<std::string> field_names(const google::protobuf::Descriptor& message);
std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type);

// Paths of all fields that hold values rather than messages, as --set spells them; a repeated message as "data.blend[]".
std::vector<std::string> all_field_paths();

// The message at this path; null if there is none.
const google::protobuf::Descriptor* message_at(const std::vector<std::string>& path);

// "model has no field "hiden_size"; did you mean "hidden_size"?"
std::string no_such_field(const google::protobuf::Descriptor& message, const std::vector<std::string>& path,
                          const std::string& name);
// "context.layout is "STRIPE"; allowed are CONTIGUOUS, ZIGZAG, STRIPED; did you mean ...?"
std::string no_such_value(const google::protobuf::FieldDescriptor& field, const std::string& shown,
                          const std::string& value);

// The name that a message of protobuf's parser is about: an unknown field, a wrong enum value, a field given twice.
std::string subject_of_parser_message(const std::string& message);

// What the parser of protobuf said inside the message at `path`, in the words above where it is one of those two.
// Where the parser complains of a value it does not say of which field.
bool is_about_value(const std::string& message);    // the field is the last with a colon behind it
bool is_about_message(const std::string& message);  // the field is the last word: a brace should follow
std::string explain_parser_message(const std::string& message, const std::vector<std::string>& path);

}  // namespace longspan
