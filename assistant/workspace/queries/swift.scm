(class_declaration declaration_kind: ["class" "actor"] name: (type_identifier) @name) @class
(class_declaration declaration_kind: "struct" name: (type_identifier) @name) @struct
(class_declaration declaration_kind: "enum" name: (type_identifier) @name) @enum
(class_declaration declaration_kind: "extension" name: (user_type (type_identifier) @name)) @container
(protocol_declaration name: (type_identifier) @name) @interface
(typealias_declaration . name: (type_identifier) @name) @type
(function_declaration name: (simple_identifier) @name) @function
(protocol_function_declaration name: (simple_identifier) @name) @function
(init_declaration "init" @name) @method
(source_file (property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @constant)
(class_body (property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @property)
(protocol_property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @property

;; references
(user_type (type_identifier) @reference)
(call_expression . [
  (simple_identifier) @reference
  (navigation_expression suffix: (navigation_suffix suffix: (simple_identifier) @reference))
])
(navigation_expression target: (simple_identifier) @reference)
(value_argument value: (simple_identifier) @reference)
