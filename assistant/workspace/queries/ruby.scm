(class name: [(constant) (scope_resolution)] @name) @class
(module name: [(constant) (scope_resolution)] @name) @module
(method name: [(identifier) (constant) (setter) (operator)] @name) @method
(singleton_method name: [(identifier) (constant) (setter) (operator)] @name) @method
(assignment left: (constant) @name) @constant

;; references
(call method: [(identifier) (constant)] @reference)
(constant) @reference
(body_statement (identifier) @reference)
(argument_list (identifier) @reference)
