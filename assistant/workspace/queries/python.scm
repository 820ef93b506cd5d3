(class_definition name: (identifier) @name) @class
(function_definition name: (identifier) @name) @function
(module (expression_statement (assignment left: [(identifier) @name (pattern_list (identifier) @name)])) @constant)
(type_alias_statement left: (type [(identifier) @name (generic_type . (identifier) @name)])) @type

;; references
(call function: [(identifier) @reference (attribute attribute: (identifier) @member)])
(class_definition superclasses: (argument_list [
  (identifier) @reference
  (attribute attribute: (identifier) @member)
  (keyword_argument value: (identifier) @reference)
]))
(decorator [(identifier) @reference (attribute attribute: (identifier) @member)])
(import_from_statement name: [
  (dotted_name (identifier) @reference)
  (aliased_import name: (dotted_name (identifier) @reference))
])
(type (identifier) @reference)
(type (generic_type (identifier) @reference))
(type (binary_operator (identifier) @reference))
(type (attribute attribute: (identifier) @member))
(raise_statement (identifier) @reference)
(except_clause (identifier) @reference)
(except_clause (tuple (identifier) @reference))
