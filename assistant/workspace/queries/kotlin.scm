(class_declaration "class" name: (identifier) @name) @class
(class_declaration "interface" name: (identifier) @name) @interface
(object_declaration name: (identifier) @name) @object
(function_declaration name: (identifier) @name) @function
(type_alias type: (identifier) @name) @type
(source_file (property_declaration (variable_declaration . (identifier) @name)) @constant)
(class_body (property_declaration (variable_declaration . (identifier) @name)) @property)

;; references
(user_type (identifier) @reference)
(call_expression . [(identifier) @reference (navigation_expression (identifier) @reference)])
(navigation_expression . (identifier) @reference)
(value_argument (identifier) @reference)
(import (qualified_identifier (identifier) @reference .))
