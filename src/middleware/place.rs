//! Where each kind of middleware usually is in a stack.

/// A place in a stack, from the outermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StackPlace {
    /// Sees every request with its final response.
    Observing,
    /// Writes the pages for errors of everything inside.
    ErrorPages,
    /// Refuses clients before anything costs time.
    Refusing,
    /// Decides by the address, or adds fields.
    Addressing,
    /// Changes bodies on their way.
    Encoding,
    /// Finds out who the user is.
    Authenticating,
    /// Serves stored responses, so it must be inside of authentication.
    Storing,
    /// Protects or completes the app.
    Inner,
}

impl StackPlace {
    /// All places, outermost first.
    pub const ALL: [StackPlace; 8] = [
        StackPlace::Observing,
        StackPlace::ErrorPages,
        StackPlace::Refusing,
        StackPlace::Addressing,
        StackPlace::Encoding,
        StackPlace::Authenticating,
        StackPlace::Storing,
        StackPlace::Inner,
    ];

    /// What the middleware there does, as a heading.
    pub fn title(self) -> &'static str {
        match self {
            StackPlace::Observing => "Observe",
            StackPlace::ErrorPages => "Pages for errors",
            StackPlace::Refusing => "Refuse clients",
            StackPlace::Addressing => "Addresses and fields",
            StackPlace::Encoding => "Encode bodies",
            StackPlace::Authenticating => "Authenticate",
            StackPlace::Storing => "Store responses",
            StackPlace::Inner => "Close to the app",
        }
    }

    /// Why it is there.
    pub fn reason(self) -> &'static str {
        match self {
            StackPlace::Observing => "These see every request with its final response.",
            StackPlace::ErrorPages => "These write pages for the errors of all inner parts.",
            StackPlace::Refusing => {
                "These refuse requests before they cause work. A `rate_limit` with `key = \"user\"` goes inside of authentication."
            }
            StackPlace::Addressing => {
                "These redirect requests, and add headers to all responses of inner parts."
            }
            StackPlace::Encoding => "These change bodies. Inner parts see the bodies as the app writes them.",
            StackPlace::Authenticating => {
                "These identify the user, and check whether a page of the site sent the request."
            }
            StackPlace::Storing => {
                "A stored response goes only to users whom the outer middleware lets pass."
            }
            StackPlace::Inner => "These limit the requests to the app, or respond in its place.",
        }
    }
}
