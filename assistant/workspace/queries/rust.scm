(struct_item name: (type_identifier) @name) @struct
(enum_item name: (type_identifier) @name) @enum
(union_item name: (type_identifier) @name) @struct
(trait_item name: (type_identifier) @name) @trait
(type_item name: (type_identifier) @name) @type
(mod_item name: (identifier) @name body: (declaration_list)) @module
(macro_definition name: (identifier) @name) @macro
(const_item name: (identifier) @name) @constant
(static_item name: (identifier) @name) @constant
(function_item name: (identifier) @name) @function
(function_signature_item name: (identifier) @name) @function
(impl_item type: [
  (type_identifier) @name
  (generic_type type: (type_identifier) @name)
  (scoped_type_identifier name: (type_identifier) @name)
]) @container

;; references
(type_identifier) @reference
(call_expression function: [
  (identifier) @reference
  (field_expression field: (field_identifier) @member)
  (scoped_identifier name: (identifier) @reference)
  (generic_function function: [
    (identifier) @reference
    (field_expression field: (field_identifier) @member)
    (scoped_identifier name: (identifier) @reference)
  ])
])
(macro_invocation macro: [(identifier) @reference (scoped_identifier name: (identifier) @reference)])
(use_declaration argument: [(identifier) @reference (scoped_identifier name: (identifier) @reference)])
(use_list [(identifier) @reference (scoped_identifier name: (identifier) @reference)])
(scoped_identifier path: (identifier) @reference)
