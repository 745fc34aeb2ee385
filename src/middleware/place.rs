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
    /// Answers from what is stored, so that only those get it who may.
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
            StackPlace::Observing => "They see every request, with its final response.",
            StackPlace::ErrorPages => "They write pages for the errors of everything inside.",
            StackPlace::Refusing => {
                "They refuse before anything costs time. A `rate_limit` with `key = \"user\"` goes inside of authentication."
            }
            StackPlace::Addressing => {
                "They redirect, and they add fields to every response of what is inside."
            }
            StackPlace::Encoding => "They change bodies, which everything inside sees as the app wrote them.",
            StackPlace::Authenticating => {
                "They find out who the user is, and whether a page of the site sent the request."
            }
            StackPlace::Storing => {
                "A stored response goes only to users whom the middleware outside lets pass."
            }
            StackPlace::Inner => "They limit what reaches the app, or answer in its place.",
        }
    }
}
